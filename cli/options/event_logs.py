"""How `train`, `evaluate` and `embed` read a log, and say what of it they skipped. Imports pyarrow."""

from dataclasses import replace
from pathlib import Path

from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.events.log import EventLog
from rankstream.events.log_kind import LogKind
from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import kind_of, read_log
from rankstream.features.actions import Vocabulary


def read_events(
    path: Path, options: LogOptions, vocabulary: Vocabulary | None = None, quiet: bool = False
) -> tuple[EventLog, LogKind]:
    """Return a log as columns, and its kind; what is skipped of it is printed by reason. Raises ``LogError``.

    A model's ``vocabulary`` leaves out the actions that the model does not know.
    """
    opened = open_log(path, replace(options, history=False))
    if not quiet:
        print_notes(opened.notes)
    log = read_log(opened, vocabulary, strict=False)
    if not quiet:
        print_skipped(opened.skipped)
    return log, kind_of(opened, log)
