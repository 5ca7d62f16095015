from faust.types import TP

from rankstream.streams.worker.chunks import ChunkScheduler, ReadingPlan
from tests.builders.actions import an_event

ONE, TWO = TP("user-actions", 0), TP("user-actions", 1)


def records(*offsets: int) -> list:
    return [an_event(offset=offset) for offset in offsets]


def test_a_fetch_is_handed_on_in_chunks_of_one_partition_in_turn():
    scheduler = ChunkScheduler(ReadingPlan(), 2, first="user-actions")
    fetched = {ONE: records(0, 1, 2), TWO: records(7)}
    chunks = [(tp.partition, [record.offset for record in chunk.records]) for tp, chunk in scheduler.iterate(fetched)]
    assert chunks == [(0, [0, 1]), (1, [7]), (0, [2])]


def test_a_chunk_knows_where_the_one_before_it_ended():
    plan = ReadingPlan()
    plan.restart(ONE, 10)
    first, second = plan.cut(ONE, records(10, 11, 14), 2)
    assert (first.start, second.start) == (10, 12)
    assert (first.offset, second.offset) == (11, 14)


def test_a_seek_makes_chunks_in_flight_void_but_not_those_of_other_partitions():
    plan = ReadingPlan()
    (old,), (other,) = plan.cut(ONE, records(0), 9), plan.cut(TWO, records(0), 9)
    plan.restart(ONE, 0)
    (new,) = plan.cut(ONE, records(0), 9)
    assert [plan.is_current(chunk) for chunk in (old, other, new)] == [False, True, True]


def test_actions_are_handed_on_before_the_requests_that_came_with_them():
    scheduler = ChunkScheduler(ReadingPlan(), 2, first="user-actions")
    fetched = {TP("ranking-requests", 0): records(5), ONE: records(0)}
    assert [tp.topic for tp, _ in scheduler.iterate(fetched)] == ["user-actions", "ranking-requests"]
