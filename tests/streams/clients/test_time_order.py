from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.action_event import Recorded
from rankstream.streams.clients import time_order
from rankstream.streams.clients.time_order import OffsetRange, in_time_order


class FakeReader:
    """Partitions in memory, a few records a poll, none of those that are paused; offsets begin at 5."""

    def __init__(self, times, at_once=3):
        self.at_once, self.paused, self.begin = at_once, set(), 5
        self.partitions = {
            number: deque(
                Recorded("t", number, self.begin + index, at_ms, None, None) for index, at_ms in enumerate(row)
            )
            for number, row in enumerate(times)
        }
        self.ends = {number: self.begin + len(row) for number, row in enumerate(times)}
        self.maximum = 0

    def bounds(self):
        return {number: (self.begin, end) for number, end in self.ends.items()}

    def seek(self, offsets):
        for number, offset in offsets.items():
            while self.partitions[number] and self.partitions[number][0].offset < offset:
                self.partitions[number].popleft()

    def pause(self, numbers):
        self.paused = set(numbers)

    def position(self, number):
        return self.partitions[number][0].offset if self.partitions[number] else self.ends[number]

    def poll(self):
        for number, waiting in self.partitions.items():
            if waiting and number not in self.paused:
                return [waiting.popleft() for _ in range(min(self.at_once, len(waiting)))]
        return []


@given(st.lists(st.lists(st.integers(0, 50), max_size=12).map(sorted), min_size=1, max_size=4))
def test_partitions_that_are_in_order_become_one_log_that_is(times):
    records = list(in_time_order(FakeReader(times)))
    assert [record.timestamp for record in records] == sorted(at_ms for row in times for at_ms in row)
    for number in range(len(times)):
        offsets = [record.offset for record in records if record.partition == number]
        assert offsets == sorted(offsets)


def test_only_the_requested_offsets_are_read():
    found = in_time_order(FakeReader([[1, 2, 3, 4], [1, 5]]), OffsetRange(6, 8))
    assert [(record.partition, record.offset) for record in found] == [(0, 6), (0, 7), (1, 6)]


def test_a_partition_that_is_far_ahead_is_held_back(monkeypatch):
    monkeypatch.setattr(time_order, "READ_AHEAD", 4)
    reader = FakeReader([list(range(100)), [50]])
    records = in_time_order(reader)
    next(records)
    assert len(reader.partitions[0]) >= 90
    assert len(list(records)) == 100
