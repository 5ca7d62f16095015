"""Pairs of near items, counted some items at a time."""

from collections import Counter

import numpy as np
import pytest

from rankstream.models.items.pairs import counted_pairs, sides_of

COUNT = 5


def some_pairs():
    rng = np.random.default_rng(0)
    return [(rng.integers(0, COUNT, 30), rng.integers(0, COUNT, 30)) for _ in range(4)]


@pytest.mark.parametrize("at_once", [1, 50, 1_000])
def test_pairs_are_counted_from_both_sides_in_whatever_blocks(at_once: int) -> None:
    wanted = Counter[tuple[int, int]]()
    for left, right in some_pairs():
        wanted.update(zip(left.tolist(), right.tolist(), strict=True))
        wanted.update(zip(right.tolist(), left.tolist(), strict=True))
    blocks = list(counted_pairs(some_pairs, COUNT, at_once=at_once))
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
    assert blocks[-1].stop == COUNT
    assert all(((block.items >= block.start) & (block.items < block.stop)).all() for block in blocks)
    items, others, times = (np.concatenate(part).tolist() for part in list(zip(*blocks, strict=True))[2:])
    pairs = list(zip(items, others, strict=True))
    assert pairs == sorted(wanted)
    assert dict(zip(pairs, times, strict=True)) == wanted


def test_blocks_hold_as_many_pairs_as_are_to_be_counted_at_once_and_more_only_of_a_single_item() -> None:
    sides = sides_of(some_pairs(), COUNT)
    assert sides.sum() == 2 * sum(len(left) for left, _ in some_pairs())
    for block in counted_pairs(some_pairs, COUNT, at_once=100):
        assert sides[block.start : block.stop].sum() <= 100 or block.stop == block.start + 1


def test_an_item_beside_itself_counts_from_both_sides() -> None:
    (block,) = counted_pairs(lambda: [(np.array([0, 1]), np.array([0, 0]))], 3)
    assert list(zip(block.items, block.others, block.times, strict=True)) == [(0, 0, 2), (0, 1, 1), (1, 0, 1)]


def test_items_without_pairs_have_a_block_too() -> None:
    assert [(block.start, block.stop, len(block.items)) for block in counted_pairs(list, 3)] == [(0, 3, 0)]
    assert list(counted_pairs(list, 0)) == []
