"""How `train`, `evaluate` and `embed` read a log, and say what of it they skipped. Imports pyarrow."""

from dataclasses import replace
from pathlib import Path

from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.evaluation.time_text import time_text
from rankstream.events.log import EventLog
from rankstream.events.log_kind import LogKind
from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import kind_of, read_log
from rankstream.features.actions import Vocabulary

FEW, NEARLY_ALL = 0.1, 0.01  # shares of a log: used for training, and held out


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


def what_is_held_out(log: EventLog, until_ms: int) -> tuple[int, str | None]:
    """Return when the training ends, and what to say of a ``--until`` that holds out nothing, or nearly all or nothing.

    An end after the last action is that action: nothing later was seen, and nothing later may be said to have been.
    """
    used, rows = len(log.split_at(until_ms)[0]), len(log)
    period = f"of {time_text(int(log.times_ms[0]))} to {time_text(int(log.times_ms[-1]))}"
    if used == rows:
        held_out = f"--until {time_text(until_ms)} holds out nothing: all {rows:,} actions are {period}"
        return log.time_at(1.0), held_out
    if FEW < used / rows < 1 - NEARLY_ALL:
        return until_ms, None
    share = f"{used:,} of {rows:,} actions ({used / rows:.1%}), which are {period}"
    return until_ms, f"before --until {time_text(until_ms)} lie {share}"
