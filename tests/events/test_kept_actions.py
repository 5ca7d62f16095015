"""What is kept of a log's newest actions: the same before a time, in whatever order and batches records came in."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.events.arrivals import Arrivals
from rankstream.events.kept_actions import KeptActions
from rankstream.events.log import EventLog
from tests.builders.bundle import AS_OF_MS, VOCABULARY
from tests.builders.impressions import shown
from tests.builders.replay import ALog

MINUTE = 60_000
Row = tuple[int | str, int, str, int, int]  # user, item, action, and minutes: when it happened, when it arrived


def arrivals(rows: list[Row]) -> Arrivals:
    plain = [(user, item if kind != "forget" else "", kind, AS_OF_MS + at * MINUTE) for user, item, kind, at, _ in rows]
    packed = next(ALog(plain, len(plain)).batches(VOCABULARY, erasures=True))
    return replace(packed, arrived_ms=np.array([AS_OF_MS + row[4] * MINUTE for row in rows], np.int64))


def kept(rows: list[Row], batch: int = 1000, most: int = 1000) -> KeptActions:
    past = KeptActions(VOCABULARY, most=most)
    for start in range(0, len(rows), batch):
        past.feed(arrivals(rows[start : start + batch]))
    return past


def told(log: EventLog) -> list[tuple[object, ...]]:
    """The rows of a log, by user in the order that counting sees them in."""
    order = log.by_user.order
    columns = (log.user_ids[order], log.item_ids[order], log.actions[order], log.times_ms[order])
    return list(zip(*(column.tolist() for column in columns), strict=True))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", 7, 12]), st.sampled_from([1, 2, 3]),
        st.sampled_from([*VOCABULARY.actions, "forget"]), st.integers(0, 12), st.integers(0, 12),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=150)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 9), st.integers(0, 13), st.integers(3, 40))
def test_what_was_known_before_a_time_is_the_same_however_it_came_in(rows, rng, batch, cut, most):
    at_ms = AS_OF_MS + cut * MINUTE
    until = [row for row in rows if max(row[3:]) < cut]
    later = [row for row in rows if max(row[3:]) >= cut][: most // 4]  # as much as is read beyond a boundary
    anyhow = [*until, *later]
    rng.shuffle(anyhow)
    assert told(kept(anyhow, batch, most).before(at_ms)) == told(kept(until, most=most).before(at_ms))


def test_no_more_than_the_newest_actions_are_kept():
    past = kept([("u", item, "view", item, item) for item in range(1, 34)], batch=3, most=10)
    assert past.read == 33
    assert past.before(AS_OF_MS + 100 * MINUTE).item_keys.tolist() == list(range(24, 34))
    assert sum(map(len, past._parts)) <= 15  # no memory grows with the log


def test_of_actions_that_were_known_at_one_time_all_are_kept_or_none():
    past = kept(
        [("u", 1, "view", 1, 1), ("u", 2, "view", 2, 2), ("u", 3, "view", 2, 2), ("u", 4, "view", 3, 3)], most=2
    )
    assert past.before(AS_OF_MS + 100 * MINUTE).item_keys.tolist() == [2, 3, 4]


def test_a_late_action_is_known_when_it_arrives():
    past = kept([("u", 1, "view", 1, 1), ("u", 2, "view", 0, 5)])
    assert past.before(AS_OF_MS + 5 * MINUTE).item_keys.tolist() == [1]
    assert past.before(AS_OF_MS + 6 * MINUTE).item_keys.tolist() == [2, 1]
    assert [past.newest_before(AS_OF_MS + at * MINUTE) for at in (6, 5, 1)] == [
        AS_OF_MS + 5 * MINUTE, AS_OF_MS + MINUTE, -1,
    ]  # fmt: skip


@pytest.mark.parametrize(("known", "left"), [(4, [3, 4]), (9, [1, 2, 3, 4])])
def test_what_an_erased_user_did_until_then_is_left_out_once_the_erasure_is_known(known, left):
    rows = [("u", 1, "view", 1, 1), ("u", 2, "view", 2, 2), ("v", 3, "view", 2, 2), ("u", 4, "view", 3, 3)]
    past = kept([*rows, ("u", 0, "forget", 2, known)])
    assert sorted(past.before(AS_OF_MS + 9 * MINUTE).item_keys.tolist()) == left
    late = arrivals([("u", 2, "view", 2, 8)])
    past.feed(late)
    assert sorted(past.before(AS_OF_MS + 9 * MINUTE).item_keys.tolist()) == sorted([*left, *([2] if known > 8 else [])])


def test_lists_that_an_erased_user_was_shown_are_left_out_too():
    lists = shown(("u", 1, 0.5, "x"), ("u", 2, 0.5, "x"), ("v", 3, 1.5, "y"), ("u", 4, 3.5, "z"))
    past = KeptActions(VOCABULARY, lists)
    past.feed(arrivals([("u", 1, "view", 1, 1), ("v", 3, "view", 2, 2), ("u", 0, "forget", 2, 4)]))
    before, after = (past.before(AS_OF_MS + at * MINUTE).impressions for at in (4, 5))
    assert [before.item_ids.tolist(), after.item_ids.tolist()] == [[1, 2, 3, 4], [3, 4]]
