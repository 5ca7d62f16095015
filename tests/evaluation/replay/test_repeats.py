"""Whether users act on the same items again is told from a log's first rows, as training tells it from all of them."""

import numpy as np
import pytest

from rankstream.evaluation.replay.repeats import repeats_items
from rankstream.events.arrivals import pack_columns
from rankstream.events.log import event_log_of
from rankstream.events.registry import repeats_items as in_training
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("view",))
NOON_MS = 1_700_000_000_000


def arrivals(items: list[int], times: list[int]):
    count = len(items)
    at_ms = NOON_MS + np.array(times, np.int64)
    codes, surfaces = np.ones(count, np.int64), np.zeros(count, np.int64)
    return pack_columns(["u"] * count, items, codes, at_ms, surfaces, np.full(count, np.nan, np.float32), at_ms)


@pytest.mark.parametrize(
    ("items", "times", "repeated"),
    [
        ([*range(40)], [*range(40)], False),
        ([*range(38), 0, 1], [*range(40)], False),  # 5 % and no more
        ([*range(37), 0, 1, 2], [*range(40)], True),
        ([1, 1, 1, 2], [0, 0, 0, 1], False),  # seen, saved and bought at one time
    ],
)
def test_repeats_are_told_as_training_tells_them(items, times, repeated):
    found = arrivals(items, times)
    assert repeats_items([found]) is repeated
    assert in_training(event_log_of([found], VOCABULARY, 0, Skipped())) is repeated


def test_the_first_rows_are_enough():
    def batches():
        yield arrivals([*range(40)], [*range(40)])
        raise AssertionError("more was read")

    assert not repeats_items(batches(), first=40)
