import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.actions import (
    ACTION_BYTES,
    ITEM,
    MAX_TIME_MS,
    Action,
    Vocabulary,
    action_time_ms,
    columns,
    min_values,
    pack_action,
    pack_actions,
    unpack_action,
    value_code,
    value_codes,
)

ACTIONS = st.builds(
    Action,
    item_key=st.integers(0, 2**64 - 1),
    action_type=st.integers(1, 63),
    occurred_at_ms=st.integers(0, MAX_TIME_MS),
    surface=st.integers(0, 255),
    value_code=st.integers(0, 255),
)


@given(ACTIONS)
def test_an_action_survives_its_16_bytes(action: Action):
    packed = action.pack()
    assert len(packed) == ACTION_BYTES
    assert unpack_action(packed) == action
    assert action_time_ms(packed) == action.occurred_at_ms
    assert int.from_bytes(packed[ITEM], "big") == action.item_key


@given(ACTIONS, ACTIONS)
def test_bytes_sort_as_actions_do_by_time_then_type_then_item(one: Action, other: Action):
    def order(action: Action) -> tuple[int, ...]:
        return action.occurred_at_ms, action.action_type, action.item_key, action.surface, action.value_code

    assert (one.pack() < other.pack()) == (order(one) < order(other))


@given(st.lists(ACTIONS, max_size=20))
def test_columns_hold_the_same_as_single_actions(actions: list[Action]):
    table = columns(b"".join(action.pack() for action in actions))
    assert table.item_keys.tolist() == [action.item_key for action in actions]
    assert table.action_types.tolist() == [action.action_type for action in actions]
    assert table.times_ms.tolist() == [action.occurred_at_ms for action in actions]
    assert table.surfaces.tolist() == [action.surface for action in actions]


@given(st.floats(0, 50_000))
def test_a_value_is_kept_within_a_few_percent(value: float):
    kept = 2.0 ** ((value_code(value) - 1) / 16) - 1
    assert 1 + kept == pytest.approx(1 + value, rel=0.022)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_value_that_is_no_amount_is_refused(value: float):
    with pytest.raises(ValueError, match="not a finite number"):
        value_code(value)


@pytest.mark.parametrize("names", [(), ("a", "a"), tuple(f"a{n}" for n in range(64))])
def test_a_vocabulary_that_codes_cannot_hold_is_refused(names: tuple[str, ...]):
    with pytest.raises(ValueError, match="wanted 1 to 63"):
        Vocabulary(names)


def test_codes_count_from_one_since_zero_is_padding():
    assert Vocabulary(("view", "save")).action_codes == {"view": 1, "save": 2}
    assert np.array(list(Vocabulary(("view",)).action_codes.values())).min() == 1


@given(st.lists(st.floats(0, 1e300), min_size=1))
def test_value_codes_of_columns_are_those_of_single_values(values: list[float]):
    edges = [float(np.nextafter(edge, side)) for edge in min_values()[1:] for side in (0, np.inf)]
    assert value_codes(np.array(values + edges)).tolist() == [value_code(value) for value in values + edges]


def test_packed_columns_are_single_actions_one_after_the_other():
    rng = np.random.default_rng(0)
    times, types, surfaces, values = (rng.integers(0, maximum, 50) for maximum in (MAX_TIME_MS, 64, 256, 256))
    keys = rng.integers(0, 1 << 64, 50, dtype=np.uint64)
    one_by_one = zip(*(column.tolist() for column in (times, types, keys, surfaces, values)), strict=True)
    assert pack_actions(times, types, keys, surfaces, values) == b"".join(pack_action(*one) for one in one_by_one)
