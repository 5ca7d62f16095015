import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.user_state import CorruptStateError, UserState, unpack_state
from tests.builders.actions import a_state, an_action


@given(st.lists(st.integers(0, 10_000), max_size=30), st.integers(0, 2**62))
def test_a_state_survives_its_bytes(times: list[int], offset: int):
    state = UserState(a_state(limit=5).history).apply([an_action("a", at) for at in times], offset).state
    assert unpack_state(state.pack(), limit=5) == state


def test_a_hundred_actions_need_about_one_and_a_half_kilobytes():
    assert len(a_state(*(an_action(n, n) for n in range(100))).pack()) == 14 + 1600


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:9], lambda raw: raw[:-1], lambda raw: b"\x09" + raw[1:], lambda raw: b""]
)
def test_a_damaged_record_is_refused(damage):
    with pytest.raises(CorruptStateError, match="not of format 1"):
        unpack_state(damage(a_state(an_action(), an_action("b", 1)).pack()))


def test_a_state_counts_what_was_applied_and_remembers_the_last_offset():
    state = a_state(an_action("a", 1), an_action("a", 1), an_action("b", 2))
    assert (state.total, state.offset) == (2, 2)
