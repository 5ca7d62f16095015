import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.actions import action_type
from rankstream.features.counters import ever_done
from rankstream.features.sessions import TAIL
from rankstream.features.user_state import HEAD, MAX_TOTAL, CorruptStateError, UserState, unpack_state
from tests.builders.actions import VOCABULARY, a_state, an_action

LIMIT = 6
KINDS = len(VOCABULARY.actions)


def a_tail() -> bytes:
    """A session of one item that left a history."""
    return TAIL.pack(1, 0, 7, 9) + bytes(8)


@given(st.lists(st.integers(0, 10_000), max_size=30), st.integers(0, 2**62))
def test_a_state_survives_its_bytes(times: list[int], offset: int):
    state = UserState(a_state(limit=5).history).apply([an_action("a", at) for at in times], offset).state
    assert unpack_state(state.pack(), limit=5) == state


def ever_done_by(state: UserState) -> list[int]:
    return ever_done(state.departed, state.history.columns().action_types, KINDS).tolist()


@given(
    st.lists(st.tuples(st.integers(0, 500), st.sampled_from(VOCABULARY.actions)), unique=True, max_size=60),
    st.integers(0, 2**32),
    st.integers(1, LIMIT - 1),
)
def test_any_bounded_shuffle_with_duplicates_leads_to_the_same_state_and_counts_each_action_once(
    done: list[tuple[int, str]], seed: int, reach: int
):
    """No action arrives behind ``LIMIT`` newer ones or more."""
    rng = random.Random(seed)
    log = sorted(an_action(f"i{at % 7}", at, kind) for at, kind in done)
    disturbed = sorted(range(len(log)), key=lambda index: index + rng.uniform(0, reach))
    arrivals = [log[index] for index in disturbed for _ in range(rng.choice((1, 1, 2)))]
    shuffled, in_order = (a_state(*actions, limit=LIMIT) for actions in (arrivals, log))
    assert shuffled.apply([], 0).state == in_order.apply([], 0).state  # but for the last offset
    counts = Counter(action_type(action) for action in log)
    assert ever_done_by(shuffled) == [counts[code] for code in range(1, KINDS + 1)]


def test_an_action_that_left_the_history_is_not_counted_again():
    state = a_state(*(an_action("a", at, "save") for at in range(9)), limit=LIMIT)
    again = state.apply([an_action("a", 1, "save")], 9).state
    assert ever_done_by(again) == ever_done_by(state) == [0, 0, 9, 0]


def test_a_record_of_format_1_is_read_and_counts_from_then_on():
    """It had no counters: of its 9 saves, the 3 that had left are not counted."""
    old = a_state(*(an_action("a", at, "save") for at in range(9)), limit=LIMIT)
    head = HEAD.pack(1, len(old.history), old.offset, old.total)
    read = unpack_state(head + old.history.packed + old.tail.pack(), LIMIT)
    assert (read.history, read.tail, read.total, ever_done_by(read)) == (old.history, old.tail, 9, [0, 0, 6, 0])
    assert ever_done_by(read.apply([an_action("b", 9)], 9).state) == [1, 0, 6, 0]


def test_a_hundred_actions_need_about_one_and_a_half_kilobytes():
    assert len(a_state(*(an_action(n, n) for n in range(100))).pack()) == 14 + 1600


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:9], lambda raw: raw[:-1], lambda raw: b"\x09" + raw[1:], lambda raw: b""]
)
def test_a_damaged_record_is_refused(damage):
    with pytest.raises(CorruptStateError, match="of none of the formats"):
        unpack_state(damage(a_state(an_action(), an_action("b", 1)).pack()))


def test_a_state_counts_what_was_applied_and_remembers_the_last_offset():
    state = a_state(an_action("a", 1), an_action("a", 1), an_action("b", 2))
    assert (state.total, state.offset) == (2, 2)


@pytest.mark.parametrize(
    "behind",
    [
        bytes([17]) + bytes(17 * 4) + a_tail(),  # counters of more types than are counted
        bytes([1, 9, 0, 0, 0]),  # counters of what left, and nothing that left
        bytes([0]) + TAIL.pack(0, 0, 7, 9),  # a session of no item
    ],
)
def test_what_no_state_packs_to_is_refused(behind: bytes):
    assert unpack_state(a_state(an_action()).pack() + bytes([0]) + a_tail()).tail.items
    with pytest.raises(CorruptStateError):
        unpack_state(a_state(an_action()).pack() + behind)


def test_the_count_of_all_actions_ends_at_what_its_bytes_hold():
    state = UserState(total=MAX_TOTAL - 1).apply([an_action(at=1), an_action(at=2)], 5).state
    assert unpack_state(state.pack()).total == MAX_TOTAL
