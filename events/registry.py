"""A log as training reads it, and its kind: what is made of its actions by default."""

from dataclasses import replace

import numpy as np

from rankstream.events.arrivals import LogError
from rankstream.events.log import EventLog, event_log_of
from rankstream.events.log_kind import REPEATED_OFTEN, WIRE_FORMAT, LogKind
from rankstream.events.open import FileLog
from rankstream.events.public import PUBLIC
from rankstream.features.actions import Vocabulary

SHARE_BEFORE_LISTS = 0.7  # of the actions, for encoders to learn from, as of KuaiRand; more where lists begin later

EVENTS = LogKind(WIRE_FORMAT)
KINDS = {name: log.kind for name, log in PUBLIC.items()} | {WIRE_FORMAT: EVENTS}


def read_log(opened: FileLog, vocabulary: Vocabulary | None = None, strict: bool = True) -> EventLog:
    """Return an opened log as columns, with what was shown, by the codes of a vocabulary, or its own.

    Raises ``LogError`` if it can't be read, or is to be read strictly and a row was skipped; else ``opened.skipped``
    counts those.
    """
    vocabulary = vocabulary or opened.vocabulary
    unsorted = replace(opened, sort=False)  # the columns are sorted by time in any case
    log = event_log_of(unsorted.batches(vocabulary, erasures=True), vocabulary, opened.untyped, opened.skipped)
    if not len(log):
        raise LogError(f"{opened.name} holds no action of a user who was not erased after it; give a log of others")
    if strict and opened.skipped:
        raise LogError(opened.skipped.refusal(opened.name, len(log)))
    shown = opened.impressions(vocabulary)
    if shown is None:
        return log
    return replace(log, impressions=shown.only(log.erasures.keep(shown.user_ids, shown.times_ms)))


def kind_of(opened: FileLog, log: EventLog) -> LogKind:
    """Return the kind of a log; whether users repeat items is counted where the kind does not say.

    Where a log says what was shown, rankers learn from that, and encoders from the actions before: they would know the
    labels else.
    """
    kind = KINDS[opened.kind]
    kind = replace(kind, repeats=repeats_items(log)) if kind is EVENTS else kind
    if log.impressions is None:
        return kind
    before = np.searchsorted(log.times_ms, log.impressions.times_ms[0]) / max(len(log), 1)
    return replace(kind, exposures=True, encoders_share=float(max(before, SHARE_BEFORE_LISTS)))


def repeats_items(log: EventLog) -> bool:
    """Return whether users act on items that they acted on at an earlier time, more often than now and then."""
    pairs = [log.by_user.user_of_row, np.unique(log.item_keys, return_inverse=True)[1]]
    times = np.unique(np.stack([*pairs, log.times_ms], axis=1), axis=0)
    different = np.unique(times[:, :2], axis=0)
    return len(times) - len(different) > REPEATED_OFTEN * len(times)
