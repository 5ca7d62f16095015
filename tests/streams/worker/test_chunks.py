from collections import deque

from faust.types import TP

from rankstream.streams.worker.chunks import ChunkScheduler, Fetched, ReadingPlan, take_joined
from tests.builders.actions import an_event

ONE, TWO = TP("user-actions", 0), TP("user-actions", 1)


def fetched(*offsets: int, begin: int | None = None, end: int | None = None) -> Fetched:
    """What a fetch brought: these offsets, and perhaps others without a record to show."""
    records = [an_event(offset=offset) for offset in offsets]
    return Fetched(offsets[0] if begin is None else begin, records, offsets[-1] + 1 if end is None else end)


def test_a_fetch_is_handed_on_in_chunks_of_one_partition_in_turn():
    scheduler = ChunkScheduler(ReadingPlan(), 2, first="user-actions")
    found = {ONE: fetched(0, 1, 2), TWO: fetched(7)}
    chunks = [(tp.partition, [record.offset for record in chunk.records]) for tp, chunk in scheduler.iterate(found)]
    assert chunks == [(0, [0, 1]), (1, [7]), (0, [2])]


def test_a_chunk_knows_where_the_one_before_it_ended():
    plan = ReadingPlan()
    plan.restart(ONE, 10)
    first, second = plan.cut(ONE, fetched(10, 11, 14), 2)
    assert (first.start, second.start) == (10, 12)
    assert (first.offset, second.offset) == (11, 14)


def test_the_last_chunk_of_a_fetch_reaches_over_the_markers_behind_its_records():
    first, second = ReadingPlan().cut(ONE, fetched(10, 11, 14, begin=8, end=17), 2)
    assert [(chunk.begin, chunk.end) for chunk in (first, second)] == [(8, 12), (12, 17)]


def test_a_fetch_of_markers_alone_is_a_chunk_without_records():
    plan = ReadingPlan()
    (markers,) = plan.cut(ONE, fetched(begin=5, end=7), 2)
    assert (markers.records, markers.begin, markers.end) == ([], 5, 7)
    (after,) = plan.cut(ONE, fetched(7), 2)
    assert after.start == 7


def test_a_seek_makes_chunks_in_flight_void_but_not_those_of_other_partitions():
    plan = ReadingPlan()
    (old,), (other,) = plan.cut(ONE, fetched(0), 9), plan.cut(TWO, fetched(0), 9)
    plan.restart(ONE, 0)
    (new,) = plan.cut(ONE, fetched(0), 9)
    assert [plan.is_current(chunk) for chunk in (old, other, new)] == [False, True, True]


def test_actions_are_handed_on_before_the_requests_that_came_with_them():
    scheduler = ChunkScheduler(ReadingPlan(), 2, first="user-actions")
    found = {TP("ranking-requests", 0): fetched(5), ONE: fetched(0)}
    assert [tp.topic for tp, _ in scheduler.iterate(found)] == ["user-actions", "ranking-requests"]


def test_chunks_that_follow_each_other_are_taken_as_one():
    plan = ReadingPlan()
    plan.restart(ONE, 10)
    queue = deque([*plan.cut(ONE, fetched(10, 11, 14), 2), *plan.cut(ONE, fetched(15, end=18), 9)])
    chunk = take_joined(queue)
    assert [record.offset for record in chunk.records] == [10, 11, 14, 15]
    assert (chunk.start, chunk.begin, chunk.end, chunk.offset, len(queue)) == (10, 10, 18, 17, 0)
    assert plan.is_current(chunk)


def test_a_gap_a_seek_another_leader_and_another_connection_part_chunks():
    plan = ReadingPlan()
    before, after_a_gap = plan.cut(ONE, fetched(0), 9), plan.cut(ONE, fetched(5), 9)
    plan.restart(ONE, 6)
    after_a_seek = plan.cut(ONE, fetched(6), 9)
    of_another = plan.cut(ONE, Fetched(7, fetched(7).records, 8, leader_epoch=3), 9)
    over_another = plan.cut(ONE, Fetched(8, fetched(8).records, 9, leader_epoch=3, lost_connections=1), 9)
    queue = deque(before + after_a_gap + after_a_seek + of_another + over_another)
    taken = [[record.offset for record in take_joined(queue).records] for _ in range(5)]
    assert taken == [[0], [5], [6], [7], [8]]
