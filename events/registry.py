"""The kinds of logs, and what training makes of the actions of each by default.

How a public log is recognised and read is in its own file (``public/``); ``open.open_log`` reads all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rankstream.events.arrivals import LogError
from rankstream.events.log import EventLog, event_log_of
from rankstream.events.open import WIRE_FORMAT, FileLog
from rankstream.events.public import kuairand, movielens, music30, taobao
from rankstream.features.actions import Vocabulary

HOUR_MS = 3_600_000
OFTEN = 0.05  # share of a log's (user, item, time)


@dataclass(frozen=True)
class LogKind:
    """A kind of log, and what its actions mean to training."""

    name: str  # of --format: a public log's, or ``events``
    positives: tuple[str, ...] = ()  # positive feedback: PinnerFormer's labels
    negatives: tuple[str, ...] = ()  # negative feedback
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # predicted -> any of these actions; {}: each
    utility: Mapping[str, float] = field(default_factory=dict)  # weight of each head in the score
    repeats: bool = False  # do users act on the same items again and again?
    exposures: bool = False  # does the log hold impressions without an action? Then the ranker learns from impressions
    encoders_share: float = 1.0  # of the actions that encoders learn from, see ``BundleRecipe``
    mask_window_ms: int = HOUR_MS  # of TransAct's random mask; shorter than a user's sitting, else it hides everything


MOVIELENS = LogKind(
    "movielens",
    movielens.POSITIVES,
    movielens.NEGATIVES,
    {"save": ("save",), "click": ("click", "save"), "view": ("view", "click", "save"), "hide": ("hide",)},
    {"click": 1.0, "save": 0.25, "view": 0.25, "hide": -0.25},  # a click or more counts most
    mask_window_ms=HOUR_MS // 6,  # users rate in one sitting: an hour would mask all actions
)
KUAIRAND = LogKind(
    "kuairand",
    kuairand.POSITIVES,
    kuairand.NEGATIVES,
    kuairand.HEADS,
    kuairand.UTILITY,
    exposures=True,
    encoders_share=0.7,
)
TAOBAO = LogKind(
    "taobao",
    taobao.POSITIVES,
    taobao.NEGATIVES,
    {"view": tuple(taobao.NAMES.values()), "save": ("save",), "cart": ("cart",), "buy": ("buy",)},
    {"view": 1.0, "save": 1.0, "cart": 1.0, "buy": 1.0},  # a save, cart or buy counts twice: it is a view, too
    repeats=True,
)
MUSIC30 = LogKind(
    "30music",
    music30.POSITIVES,
    music30.NEGATIVES,
    {"play": ("play", "listen"), "listen": ("listen",)},
    {"listen": 1.0, "play": 0.25},  # a song that is left within half a minute was played, too
    repeats=True,
)
EVENTS = LogKind(WIRE_FORMAT)

KINDS = {kind.name: kind for kind in (MOVIELENS, KUAIRAND, TAOBAO, MUSIC30, EVENTS)}


def read_log(opened: FileLog, vocabulary: Vocabulary | None = None, strict: bool = True) -> EventLog:
    """Return an opened log as columns, by the codes of a vocabulary, or its own.

    Raises ``LogError`` if it can't be read, or is to be read strictly and a row was skipped; else ``opened.skipped``
    counts those.
    """
    vocabulary = vocabulary or opened.vocabulary
    batches = replace(opened, sort=False).batches(vocabulary)  # the columns are sorted by time in any case
    log = event_log_of(batches, vocabulary, opened.untyped)
    if strict and opened.skipped:
        (sentence, count), total = opened.skipped.most_common(1)[0], opened.skipped.total()
        raise LogError(
            f"{total:,} of the {len(log) + total:,} rows of {opened.name} can't be read, of {count:,} the reason is "
            f"{sentence}; correct them, or let them be skipped"
        )
    return log


def kind_of(opened: FileLog, log: EventLog) -> LogKind:
    """Return the kind of a log; whether users repeat items is counted where the kind does not say."""
    kind = KINDS[opened.kind]
    return replace(kind, repeats=repeats_items(log)) if kind is EVENTS else kind


def repeats_items(log: EventLog) -> bool:
    """Return whether users act on items that they acted on at an earlier time, more often than now and then."""
    pairs = [log.by_user.user_of_row, np.unique(log.item_keys, return_inverse=True)[1]]
    times = np.unique(np.stack([*pairs, log.times_ms], axis=1), axis=0)
    different = np.unique(times[:, :2], axis=0)
    return bool(1 - len(different) / max(len(times), 1) > OFTEN)
