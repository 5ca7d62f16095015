from math import log, log1p

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.actions import Action
from rankstream.features.counters import (
    count_departed,
    counter_columns,
    ever_done,
    pack_counters,
    unpack_counters,
)

NOBODY = np.zeros(0, np.int64)
TYPES = st.lists(st.integers(1, 63), max_size=200)


def departed(types: list[int]) -> int:
    return count_departed(0, [Action(1, code, 1_000 + at).pack() for at, code in enumerate(types)])


def test_what_left_and_what_is_held_make_what_was_ever_done():
    left = departed([1] * 7 + [3])
    assert ever_done(left, np.array([3, 1, 1, 4]), 4).tolist() == [9, 0, 2, 1]


@given(TYPES, TYPES)
def test_each_type_is_counted_apart_from_the_others(gone: list[int], held: list[int]):
    both = gone + held
    counts = ever_done(departed(gone), np.array(held, np.int64), 16)
    assert counts.tolist() == [both.count(code) for code in range(1, 17)]


@given(TYPES, st.binary(max_size=20))
def test_counters_survive_their_bytes_and_leave_what_follows(types: list[int], rest: bytes):
    counts = departed(types)
    assert unpack_counters(pack_counters(counts) + rest) == (counts, rest)


def test_counters_take_four_bytes_a_type_up_to_the_last_one_that_left():
    assert [len(pack_counters(departed(types))) for types in ([], [1], [3, 1], [16], [17])] == [1, 5, 13, 65, 1]


@pytest.mark.parametrize("cut", [b"", b"\x01", b"\x02\x00\x00\x00\x00\x00"])
def test_counters_that_are_cut_are_refused(cut: bytes):
    with pytest.raises(ValueError, match="wanted"):
        unpack_counters(cut)


def test_a_share_is_of_all_that_was_done_drawn_to_all_types_alike():
    columns = counter_columns(np.array([13, 0, 2, 0]))
    by_hand = [log1p(15) / log(100), 14.25 / 20, 1.25 / 20, 3.25 / 20, 1.25 / 20]
    np.testing.assert_allclose(columns, by_hand, rtol=1e-6)
    assert columns.dtype == np.float32


def test_a_user_who_did_nothing_has_the_same_share_of_each():
    assert counter_columns(np.zeros(4, np.int64)).tolist() == [0, 0.25, 0.25, 0.25, 0.25]


def test_no_counters_are_no_columns():
    assert counter_columns(ever_done(departed([1, 2]), NOBODY, 0)).shape == (0,)
