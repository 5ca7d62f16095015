"""How `train`, `evaluate` and `embed` read a log, and say what of it they skipped. Imports pyarrow."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from rankstream.cli.options.logs import notes_of
from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.evaluation.replay.impressions import says_shown
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import LogError
from rankstream.events.contents import one_for_many
from rankstream.events.impressions import WITHIN_MS, Impressions, followed_by
from rankstream.events.log import EventLog
from rankstream.events.log_kind import WIRE_FORMAT, LogKind
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
        print_notes(notes_of(opened))
    log = read_log(opened, vocabulary, strict=False)
    if not quiet:
        print_skipped(opened.skipped)
        if opened.shown_in is not None:
            print_skipped(opened.shown_in.skipped)
        print_notes((said,) if (said := one_for_many(Counter(log.user_ids.tolist()))) else ())
    if log.impressions is not None:
        print_notes(() if quiet else (what_was_shown(log, log.impressions),))
    elif not quiet and opened.kind == WIRE_FORMAT:
        named = [name for name in log.vocabulary.actions if says_shown(name)]
        print_notes(
            tuple(f"{name} is read as an action; if its rows say what was shown, --shown {name}" for name in named)
        )
    return log, kind_of(opened, log)


def what_was_shown(log: EventLog, shown: Impressions) -> str:
    """Return what there is to say of impressions. Raises ``LogError`` where nothing shown was ever acted on."""
    rows, _ = followed_by(shown, log.acts)
    lists, items = len(shown), np.diff(shown.starts)
    if not len(rows):
        raise LogError(
            f"no action is on an item that one of {lists:,} lists showed to its user in the {WITHIN_MS // 60_000} "
            f"minutes before: the log has user {log.user_ids[0]} and item {log.item_ids[0]}, the lists user "
            f"{shown.user_ids[0]} and item {shown.item_ids[0]}; are these the same ids and the same clock?"
        )
    acted = len(np.unique(shown.list_of_row[rows]))
    return (
        f"{lists:,} lists of {np.median(items):g} items (median), {np.count_nonzero(items > 1):,} of them of several, "
        f"were shown; {acted:,} were acted on, {len(np.unique(rows)):,} of {len(shown.item_ids):,} impressions"
    )


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
