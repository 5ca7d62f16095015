"""Erasure of a user: what is forgotten stays so, in whatever order records come."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.actions import action_time_ms
from rankstream.features.user_state import CorruptStateError, UserState, unpack_state
from tests.builders.actions import MORNING_MS, VOCABULARY, a_state, an_action, an_erasure

LIMIT = 6


def items(state: UserState) -> list[int]:
    return state.history.columns().item_keys.tolist()


def test_an_erasure_leaves_what_came_after_it_and_nothing_else():
    state = a_state(*[an_action(n, n) for n in range(9)], an_erasure(6), limit=4)
    assert (items(state), state.total, state.departed, state.tail.items) == ([8, 7], 2, 0, b"")
    assert (state.forgotten_ms, state.offset) == (MORNING_MS + 6000, 9)


def test_what_comes_late_from_before_an_erasure_does_not_bring_the_user_back():
    applied = a_state(an_action(1, 1), an_erasure(5)).apply([an_action(5, 5), an_action(1, 1), an_action(6, 6)], 9)
    assert (items(applied.state), applied.state.total, applied.forgotten) == ([6], 1, 2)


def test_an_earlier_erasure_that_comes_later_changes_nothing():
    state = a_state(an_action(1, 1), an_erasure(5), an_action(6, 6))
    assert state.apply([an_erasure(3)], 2).state == state


def test_a_session_that_ended_before_an_erasure_is_not_folded():
    applied = a_state(*[an_action(n, 4000 * n) for n in range(4)], limit=4).apply(
        [*[an_action(n, 4000 * n) for n in range(4, 8)], an_erasure(4000 * 8)], 9
    )
    assert (applied.ended, items(applied.state)) == ((), [])


@given(
    st.lists(st.tuples(st.integers(0, 500), st.sampled_from(VOCABULARY.actions)), unique=True, max_size=60),
    st.lists(st.integers(0, 500), min_size=1, max_size=3),
    st.integers(0, 2**32),
    st.integers(1, LIMIT - 1),
)
def test_any_bounded_shuffle_with_duplicates_around_erasures_leads_to_the_same_state(
    done: list[tuple[int, str]], erased: list[int], seed: int, reach: int
):
    """No record arrives behind ``LIMIT`` newer ones or more, the erasures neither."""
    rng = random.Random(seed)
    log = sorted([an_action(f"i{at % 7}", at, kind) for at, kind in done] + [an_erasure(at) for at in erased])
    disturbed = sorted(range(len(log)), key=lambda index: index + rng.uniform(0, reach))
    arrivals = [log[index] for index in disturbed for _ in range(rng.choice((1, 1, 2)))]
    shuffled, in_order = (a_state(*records, limit=LIMIT) for records in (arrivals, log))
    assert shuffled.apply([], 0).state == in_order.apply([], 0).state  # but for the last offset
    again = in_order.apply([record for record in log if record <= an_erasure(max(erased))], 0).state
    assert again == in_order.apply([], 0).state


@given(st.lists(st.one_of(st.integers(1, 99), st.integers(-99, -1)), max_size=40), st.lists(st.integers(1, 9)))
def test_a_log_with_erasures_leads_to_the_same_state_however_it_is_cut(times: list[int], cuts: list[int]):
    log = [an_action(f"i{at}", 900 * at) if at > 0 else an_erasure(-900 * at) for at in times]
    state, at = a_state(limit=LIMIT), 0
    for size in [*cuts, len(log) + 1]:
        state = unpack_state(state.apply(log[at : at + size], 0).state.pack(), LIMIT)
        at += size
    assert state == a_state(limit=LIMIT).apply(log, 0).state


def test_a_mark_takes_22_bytes_and_users_without_one_are_stored_as_before():
    assert len(a_state(an_erasure(1)).pack()) == 22
    assert a_state(an_action()).pack()[0] == 2


@pytest.mark.parametrize("cut", [14, 17, 21, 23])
def test_a_damaged_mark_is_refused(cut: int):
    packed = a_state(an_erasure(1)).pack() + b"x"
    with pytest.raises(CorruptStateError, match="of none of the formats"):
        unpack_state(packed[:cut])
    with pytest.raises(CorruptStateError, match="the mark of an erasure at 0"):
        unpack_state(packed[:14] + bytes(8))


DAY_S = 86_400
FORGET_AFTER_MS = 30 * DAY_S * 1000


def aged(*actions: bytes) -> UserState:
    return a_state(limit=LIMIT).apply(actions, len(actions) - 1, FORGET_AFTER_MS).state


def test_an_action_after_a_long_silence_starts_a_new_user():
    state = aged(an_action(1, 0), an_action(2, 30 * DAY_S), an_action(3, 60 * DAY_S + 1))
    assert (items(state), state.total) == ([3], 1)
    assert state.forgotten_ms == MORNING_MS + 30 * DAY_S * 1000
    assert items(aged(an_action(1, 0), an_action(2, 30 * DAY_S))) == [2, 1]


def test_an_action_of_before_the_silence_that_comes_after_it_is_forgotten_too():
    assert items(aged(an_action(1, 0), an_action(3, 40 * DAY_S), an_action(2, 0))) == [3]


def test_a_request_after_a_long_silence_sees_nothing_and_no_vector_of_before():
    state = a_state(an_action(1, 0), an_action(2, DAY_S))
    later_ms = MORNING_MS + 31 * DAY_S * 1000
    assert state.as_of(later_ms, FORGET_AFTER_MS) is state
    seen = state.as_of(later_ms + 1, FORGET_AFTER_MS)
    assert (items(seen), seen.offset, seen.total, seen.forgotten_ms) == ([], state.offset, 0, later_ms + 1)


def test_what_is_kept_after_a_long_silence_is_the_mark():
    state = a_state(an_action(1, 0), an_action(2, DAY_S))
    at_ms = MORNING_MS + 31 * DAY_S * 1000
    assert state.expired(at_ms, FORGET_AFTER_MS) is state
    assert state.expired(at_ms + 1, FORGET_AFTER_MS) == state.erased(MORNING_MS + DAY_S * 1000)
    assert len(state.expired(at_ms + 1, FORGET_AFTER_MS).pack()) == 22


VISITS = st.lists(st.lists(st.integers(0, 5 * DAY_S), min_size=1, max_size=8), min_size=1, max_size=4)


@given(VISITS, st.integers(0, 2**32), st.integers(1, LIMIT - 1), st.lists(st.integers(1, 9)), st.booleans())
def test_shuffles_within_visits_sweeps_between_them_and_any_cut_lead_to_the_same_state(
    visits: list[list[int]], seed: int, reach: int, cuts: list[int], swept: bool
):
    """Visits are 40 days apart, so each begins anew; with an erasure in the first, and repetitions."""
    rng = random.Random(seed)
    log, disturbed = [an_erasure(DAY_S)], [an_erasure(DAY_S)]
    for nth, times in enumerate(visits):
        visit = sorted(an_action(f"i{at % 7}", nth * 45 * DAY_S + at) for at in times)
        order = sorted(range(len(visit)), key=lambda index: index + rng.uniform(0, reach))
        log += visit
        disturbed += [visit[index] for index in order for _ in range(rng.choice((1, 1, 2)))]
    state, at = a_state(limit=LIMIT), 0
    for size in [*cuts, len(disturbed) + 1]:
        part = disturbed[at : at + size]
        if swept and part:  # a worker's sweep leaves a day for what comes late
            state = state.expired(min(map(action_time_ms, part)) - DAY_S * 1000, FORGET_AFTER_MS)
        state, at = state.apply(part, 0, FORGET_AFTER_MS).state, at + size
    assert state == a_state(limit=LIMIT).apply(log, 0, FORGET_AFTER_MS).state
