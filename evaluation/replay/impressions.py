"""Does a log hold impressions, or acts alone? Only what was shown and left alone says what could have been avoided.

::

    impressions    u was shown a, b, c     u clicked b          b was chosen from a, b, c
    acts           u viewed a              u bought b           nothing says what else there was to choose from

In a log of acts, the items of a session are those that its user chose, so ranking them is no ranking of what was shown.
The two look alike row by row. A log is taken for one of impressions if sessions hold items without a positive action,
and one of these holds besides:

- the kind of log is known, and it holds them (KuaiRand)
- an action is named so, and is not positive: ``impression``, ``exposure``, ``shown``, ...; ``view`` where there are
  clicks, too
- most positives are recorded with another action on the same item at the same time: an impression with its outcomes.
  Nobody chooses an item twice in one second
- most items without a positive came several at one time, and nearly every positive was on an item that had come before
  in its session: a list was shown, and something in it was chosen

Times of whole minutes, or of days, say nothing about what came together; the last two are not looked at then.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from rankstream.evaluation.replay.exposures import Exposure, exposures_of, groups_of, whole_groups
from rankstream.events.arrivals import Arrivals
from rankstream.features.actions import Vocabulary
from rankstream.features.sessions import SESSION_GAP_MS

MAX_ROWS = 200_000  # that are looked at, from the first one on
MIN_LEFT_ALONE = 0.05  # share of the items of sessions with a positive, that have none
MOST, NEARLY_ALL = 0.5, 0.9
COARSE_MS = 60_000
SHOWN = re.compile(r"show|shows|display|displayed|served|(no|non|not|un)[^a-z]*(click|clicks|clicked|action)")
SHOWN_WORD = re.compile(r"imp|impressions?|impressed|exposed?|exposures?|shown")  # a word of a name
VIEWED = re.compile(r"views?|viewed|seen|pv")
CLICKED = re.compile(r"clicks?|clicked|clk|taps?|tapped|opens?|opened")


@dataclass(frozen=True)
class Impressions:
    """Whether a log holds impressions, and why it is taken to, in words."""

    found: bool
    why: str


@dataclass
class _Session:
    last_ms: int
    items: dict[int, int] = field(default_factory=dict)  # item -> actions on it, masks


@dataclass
class Counts:
    """What a log's sessions hold; ``positives`` is a mask."""

    positives: int
    gap_ms: int = SESSION_GAP_MS
    rows: int = 0
    actions: int = 0  # mask of those that occur
    coarse: bool = True
    chosen: int = 0  # exposures with a positive action
    chosen_with_other: int = 0  # of these, with another action at the same time
    chosen_from_shown: int = 0  # of these, on an item that had come with another action, at the same time or before
    others: int = 0  # exposures without a positive action
    others_together: int = 0  # of these, with other items at the same time
    items: int = 0  # of sessions with a positive
    left_alone: int = 0  # of these, without a positive
    _sessions: dict[bytes, _Session] = field(default_factory=dict)

    def add(self, arrivals: Arrivals) -> None:
        """Count rows (``whole_groups``)."""
        self.rows += len(arrivals)
        self.coarse = self.coarse and not (arrivals.times_ms % COARSE_MS).any()
        for group in groups_of(arrivals):
            self._add(exposures_of(arrivals, group))

    def end(self) -> None:
        """Count the sessions that are still open."""
        for session in self._sessions.values():
            self._close(session)
        self._sessions.clear()

    def _add(self, together: list[Exposure]) -> None:
        key, at_ms = together[0].key, together[0].at_ms
        session = self._sessions.get(key)
        if session is None or at_ms - session.last_ms > self.gap_ms:
            if session is not None:
                self._close(session)
            self._sessions[key] = session = _Session(at_ms)
        session.last_ms = max(session.last_ms, at_ms)
        for one in together:
            before = session.items.get(one.item_key, 0)
            session.items[one.item_key] = before | one.actions
            self.actions |= one.actions
            other = one.actions & ~self.positives
            if one.actions & self.positives:
                self.chosen += 1
                self.chosen_with_other += bool(other)
                self.chosen_from_shown += bool(other | before & ~self.positives)
            else:
                self.others += 1
                self.others_together += len(together) > 1

    def _close(self, session: _Session) -> None:
        positive = sum(bool(actions & self.positives) for actions in session.items.values())
        if positive:
            self.items += len(session.items)
            self.left_alone += len(session.items) - positive


def impressions_of(
    batches: Iterable[Arrivals],
    vocabulary: Vocabulary,
    positives: int,
    gap_ms: int = SESSION_GAP_MS,
    declared: bool | None = None,
) -> Impressions:
    """Look at a log's first rows; ``positives`` is a mask, ``declared`` what is known of the kind of log."""
    counts = Counts(positives, gap_ms)
    if declared is False:
        return told_apart(counts, vocabulary, declared)
    for arrivals in whole_groups(_first(batches, MAX_ROWS)):
        counts.add(arrivals)
    counts.end()
    return told_apart(counts, vocabulary, declared)


def _first(batches: Iterable[Arrivals], rows: int) -> Iterable[Arrivals]:
    read = 0
    for arrivals in batches:
        yield arrivals.rows(slice(0, rows - read))
        read += len(arrivals)
        if read >= rows:
            return


def told_apart(counts: Counts, vocabulary: Vocabulary, declared: bool | None = None) -> Impressions:
    """Return what the counts say."""
    of = f"of the first {counts.rows:,} rows"
    names = [name for name, code in vocabulary.action_codes.items() if counts.actions >> code & 1]
    others = [name for name in names if not counts.positives >> vocabulary.action_codes[name] & 1]
    if declared is False:
        return Impressions(False, "logs of this kind hold acts, no impressions")
    if counts.left_alone < MIN_LEFT_ALONE * max(counts.items, 1):
        return Impressions(
            False, f"{_share(counts.items - counts.left_alone, counts.items)} of the items in sessions {of} were acted "
            "on positively, so it holds no impressions",
        )  # fmt: skip
    if declared:
        return Impressions(True, "logs of this kind hold impressions")
    named = [name for name in others if _means_shown(name, names)]
    if named:
        return Impressions(True, f"it holds impressions, by the name of {', '.join(named)}")
    if not counts.coarse and counts.chosen_with_other > MOST * counts.chosen:
        return Impressions(
            True,
            f"{_share(counts.chosen_with_other, counts.chosen)} of the positives {of} are recorded with another action "
            "on their item at the same time, as impressions are with what came of them",
        )
    lists = not counts.coarse and counts.others_together > MOST * counts.others
    if lists and counts.chosen_from_shown > NEARLY_ALL * counts.chosen:
        return Impressions(
            True,
            f"items without a positive come several at one time, and {_share(counts.chosen_from_shown, counts.chosen)} "
            f"of the positives {of} are on an item that had come before",
        )
    acts = ", ".join(others) or "no action"
    return Impressions(
        False, f"the actions that are not positive ({acts}) look like acts of users, not like impressions"
    )


def _means_shown(name: str, names: list[str]) -> bool:
    if says_shown(name):
        return True
    return bool(VIEWED.fullmatch(name.lower())) and any(CLICKED.fullmatch(one.lower()) for one in names)


def says_shown(name: str) -> bool:
    """Return whether an action's name says that its rows are impressions."""
    name = name.lower()
    return bool(SHOWN.fullmatch(name)) or any(SHOWN_WORD.fullmatch(word) for word in re.split(r"[^a-z]+", name))


def _share(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.3g} %"
