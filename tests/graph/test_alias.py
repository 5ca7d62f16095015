"""Entries drawn by weight: every slot is full, what is drawn is the weights, and equal weights draw as none do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.matches.tables import Lists
from rankstream.graph.alias import SLOT, alias_lists

WEIGHTS = st.sampled_from([1.0, 1.0, 2.0, 3.0, 0.5, 1e-15, 1e6])


def lists_of(lengths):
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    return Lists(starts, np.arange(starts[-1], dtype=np.int32))


@given(st.lists(st.lists(WEIGHTS, max_size=6), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_what_each_entry_has_of_all_slots_is_its_weight_and_no_slot_knows_another_list(weights):
    lists = lists_of(map(len, weights))
    drawn = alias_lists(lists, np.array([one for of in weights for one in of], np.float64))
    own = drawn.thresholds.astype(np.int64)
    held = own + np.bincount(drawn.others, SLOT - own, len(own)).astype(np.int64)
    for row, of in enumerate(weights):
        wanted = np.array(of) / max(sum(of), 1e-300) * len(of) * SLOT
        assert np.abs(held[lists.slice(row)] - wanted).max(initial=0) <= len(of)  # rounded to whole parts
        assert set(drawn.others[lists.slice(row)]) <= set(lists.of(row))


def test_of_equal_weights_every_slot_is_its_own_entrys():
    drawn = alias_lists(lists_of([3, 0, 4]), np.full(7, 0.3))
    assert drawn.thresholds.tolist() == [SLOT] * 7


def test_the_example_of_the_header():
    drawn = alias_lists(lists_of([3]), np.array([5.0, 3.0, 1.0]))
    assert drawn.thresholds / SLOT == pytest.approx([1, 1, 1 / 3])
    assert drawn.others[2] == 0
