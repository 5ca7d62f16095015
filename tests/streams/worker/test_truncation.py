"""Topics that lost what was processed: what shows it, and what follows."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import LeaderNotAvailableError
from faust.types import TP

from rankstream.events.action_event import Recorded
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, TopicNames
from rankstream.streams.worker.checkpoint import Cursor
from rankstream.streams.worker.chunks import Chunk, Fetched
from rankstream.streams.worker.fetch_connections import FetchConnections
from rankstream.streams.worker.leader_epochs import ends_of_epochs
from rankstream.streams.worker.offsets import Bounds, bounds_of, reader, records_at
from rankstream.streams.worker.opening import first_unanswered
from rankstream.streams.worker.source import UNKNOWN, Described, Source
from rankstream.streams.worker.topic_identity import OwnershipError
from rankstream.streams.worker.truncation import Cut, CutWatch, first_not_before, replaced_records
from tests.builders.actions import an_event
from tests.builders.cli import fresh_topics
from tests.builders.partition import a_partition
from tests.streams.worker.test_ownership import an_ownership

LOG, ASKED = TP("user-actions", 0), TP("ranking-requests", 0)


def a_chunk(begin: int, leader_epoch: int, tp: TP = LOG, lost: int = 0) -> Chunk:
    read = Fetched(begin, [an_event(offset=begin)], begin + 1, leader_epoch, lost_connections=lost)
    return Chunk(tp, read, start=None, epoch=0)


def a_log_of(bootstrap_servers: str, count: int) -> tuple[Settings, TP]:
    """A partition with so many records of one user."""
    settings = fresh_topics(bootstrap_servers, partitions=1)
    tp = TP(TopicNames(settings.topic_prefix).of(ACTIONS), 0)
    with RawProducer(settings, [tp.topic]) as producer:
        for number in range(count):
            producer.send(tp.topic, b"u1", b"%d" % number)
    return settings, tp


def test_a_chunk_is_in_doubt_that_a_later_leader_wrote_or_where_reading_went_back():
    watch, cursor = CutWatch(Settings()), Cursor(LOG, processed=7)
    watch.compared(LOG, 3)
    assert not watch.is_in_doubt(a_chunk(7, leader_epoch=3), cursor)
    assert not watch.is_in_doubt(a_chunk(7, leader_epoch=2), cursor), "of an older part of the log"
    assert watch.is_in_doubt(a_chunk(7, leader_epoch=4), cursor)
    assert watch.is_in_doubt(a_chunk(0, leader_epoch=3), cursor)


def test_a_chunk_is_in_doubt_that_came_over_another_connection_though_the_leaders_epoch_is_the_same():
    watch, cursor = CutWatch(Settings()), Cursor(LOG, processed=7)
    watch.compared(LOG, 3, lost_connections=1)
    assert not watch.is_in_doubt(a_chunk(7, leader_epoch=3, lost=1), cursor)
    assert watch.is_in_doubt(a_chunk(7, leader_epoch=3, lost=2), cursor)
    watch.compared(LOG, 4)
    assert not watch.is_in_doubt(a_chunk(7, leader_epoch=4, lost=1), cursor), "what was compared stays so"


@pytest.mark.broker
def test_what_was_processed_is_compared_with_what_the_topic_holds(bootstrap_servers):
    settings, tp = a_log_of(bootstrap_servers, 3)
    found = asyncio.run(records_at(settings, {tp: Bounds(2, 3)}))[tp]
    assert found is not None
    last = Source().after(found)
    other = Source().after(Recorded(tp.topic, 0, 2, found.timestamp, found.key, b"another"))

    def cuts(position: int, last: Source) -> dict[TP, Cut]:
        return asyncio.run(CutWatch(settings).cuts([Cursor(tp, position, last_known=last)]))

    assert cuts(3, last) == cuts(3, UNKNOWN) == {}
    assert cuts(4, last) == {tp: Cut(4, 3, None)}
    assert cuts(3, other) == {tp: Cut(3, 3, replaced=2)}
    assert asyncio.run(first_not_before(settings, {tp: found.timestamp}))[tp] in (0, 1, 2)


@pytest.mark.broker
def test_what_stands_where_there_was_a_marker_of_a_transaction_is_a_cut(bootstrap_servers):
    settings, tp = a_log_of(bootstrap_servers, 2)
    found = asyncio.run(records_at(settings, {tp: Bounds(0, 2)}))[tp]
    assert found is not None
    last = Source().after(found)
    bounds = asyncio.run(bounds_of(settings, [tp]))
    kept = {tp: last.with_nothing_before(2)}
    assert asyncio.run(CutWatch(settings).cuts([Cursor(tp, 2, last_known=kept[tp])])) == {tp: Cut(2, 2, replaced=0)}
    assert asyncio.run(replaced_records(settings, kept, bounds)) == {tp}, "and so it is to whoever opens it"
    assert asyncio.run(CutWatch(settings).cuts([Cursor(tp, 2, last_known=last)])) == {}, "skipped, or not readable"


@pytest.mark.broker
def test_what_stands_below_the_position_and_is_later_than_all_that_was_read_is_a_cut(bootstrap_servers):
    """Compaction may have taken the last record and what came in its place, and leaders' epochs may be the same."""
    settings, tp = a_log_of(bootstrap_servers, 3)
    first, last = (asyncio.run(records_at(settings, {tp: Bounds(at, 3)}))[tp] for at in (0, 2))
    bounds = asyncio.run(bounds_of(settings, [tp]))

    def is_cut(begin: int, newest_ms: int) -> bool:
        kept = {tp: Source().after(last).with_times(begin, newest_ms)}
        return bool(asyncio.run(replaced_records(settings, kept, bounds)))

    assert is_cut(0, first.timestamp - 1)
    assert not is_cut(0, last.timestamp)
    assert not is_cut(3, first.timestamp - 1), "before what was read from"
    assert not is_cut(0, -1), "records without a time"
    assert not is_cut(0, (1 << 63) - 1), "there is no later time"


@pytest.mark.parametrize(("end_of_epoch", "is_cut"), [(3, False), (1, True), (-1, True), (None, True)])
def test_a_record_that_is_gone_was_compacted_where_the_log_of_its_leader_reaches_over_it(
    monkeypatch, end_of_epoch: int | None, is_cut: bool
):
    """The embedded broker compacts nothing; see ``tests/kafka/test_rewritten_log.py``."""

    async def ends(settings: Settings, epochs: Any) -> dict[TP, int]:
        assert epochs == {LOG: 5}
        return {} if end_of_epoch is None else {LOG: end_of_epoch}

    async def holes(settings: Settings, windows: Any) -> dict[TP, Any]:
        return dict.fromkeys(windows, an_event(offset=2))

    monkeypatch.setattr("rankstream.streams.worker.truncation.ends_of_epochs", ends)
    monkeypatch.setattr("rankstream.streams.worker.truncation.records_at", holes)
    kept = {LOG: Source().after(an_event(offset=1), leader_epoch=5)}
    found = asyncio.run(replaced_records(Settings(), kept, {LOG: Bounds(0, 3)}))
    assert found == ({LOG} if is_cut else set())


def test_where_the_last_record_has_expired_there_is_nothing_to_compare():
    kept = {LOG: Source().after(an_event(offset=1), leader_epoch=5).with_nothing_before(4)}
    assert asyncio.run(replaced_records(Settings(), kept, {LOG: Bounds(3, 9)})) == set(), "no broker is asked"


@pytest.mark.broker
def test_a_broker_that_knows_no_epochs_tells_no_end_of_theirs(bootstrap_servers, broker):
    settings, tp = a_log_of(bootstrap_servers, 1)
    assert asyncio.run(ends_of_epochs(settings, {})) == {}
    assert asyncio.run(ends_of_epochs(settings, {tp: 0})) == ({tp: 1} if broker.is_kafka else {})


@pytest.mark.broker
def test_connections_that_a_consumer_lost_are_counted(bootstrap_servers):
    settings, tp = a_log_of(bootstrap_servers, 1)

    async def story() -> list[int]:
        lost = []
        async with reader(settings) as consumer:
            connections = FetchConnections(consumer._client)
            consumer.assign([TopicPartition(*tp)])
            for number in range(4):
                consumer.seek(TopicPartition(*tp), 0)
                while not await consumer.getmany(timeout_ms=20):
                    pass
                lost.append(connections.lost)
                if number == 1:
                    for connection in list(consumer._client._conns.values()):
                        connection.close()
        return lost

    assert asyncio.run(story()) == [0, 0, 1, 1]


@pytest.mark.broker
def test_a_reader_that_stops_while_a_fetch_waits_to_be_tried_again_cancels_nobody_else(bootstrap_servers):
    async def story() -> str:
        async with reader(Settings(bootstrap_servers=bootstrap_servers)) as consumer:
            consumer.assign([TopicPartition("of-no-topic", 0)])
            await asyncio.sleep(0.1)
            consumer._fetcher._pending_tasks.add(asyncio.create_task(asyncio.sleep(60)))
            await asyncio.sleep(0.1)
        return "went on"

    assert asyncio.run(story()) == "went on"


def look(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    cuts: dict[TP, Cut],
    chunk: Chunk | None,
    leaderless: Collection[TP] = (),
    asked: list[TP] | None = None,
) -> dict[TP, int]:
    """Look for cuts where brokers tell of these; which they were ``asked`` for is noted."""

    async def found(watch: CutWatch, cursors: Collection[Cursor]) -> dict[TP, Cut]:
        if asked is not None:
            asked.extend(one.tp for one in cursors)
        return cuts

    async def told(settings: Settings, topics: Any) -> dict[str, Described]:
        lacks = {topic: [tp.partition for tp in leaderless if tp.topic == topic] for topic in topics}
        return {topic: Described(UNKNOWN, {0: 3}, numbers) for topic, numbers in lacks.items()}

    monkeypatch.setattr(CutWatch, "cuts", found)
    monkeypatch.setattr("rankstream.streams.worker.topic_identity.describe", told)
    return asyncio.run(owner.look_for_cuts(chunk))


def test_lost_actions_fail_what_is_open_and_are_refused(monkeypatch):
    owner = an_ownership()
    owner.partitions[0] = a_partition(actions=7)
    with pytest.raises(
        OwnershipError, match=r"user-actions partition 0 has lost records that were applied \(it ends at"
    ):
        look(monkeypatch, owner, {LOG: Cut(7, 5, None)}, None)
    assert owner.partitions[0].failed


def test_requests_are_answered_from_where_the_log_ends_and_the_groups_offset_follows(monkeypatch):
    owner = an_ownership()
    owner.partitions[0] = partition = a_partition(requests=9)
    assert look(monkeypatch, owner, {ASKED: Cut(9, 4, None)}, None) == {ASKED: 4}
    cursor = partition.requests
    assert (cursor.processed, cursor.checkpointed, cursor.committed) == (4, 4, 4)
    assert not partition.failed


def test_a_chunk_that_was_in_doubt_for_its_leader_is_not_when_nothing_is_lost(monkeypatch):
    owner, chunk = an_ownership(), a_chunk(7, leader_epoch=5)
    owner.partitions[0] = a_partition(actions=7)
    assert owner.is_in_doubt(chunk)
    assert look(monkeypatch, owner, {}, chunk) == {}
    assert not owner.is_in_doubt(chunk)


def test_a_partition_that_nobody_leads_stays_in_doubt_and_holds_up_no_other(monkeypatch):
    owner, asked = an_ownership(), []
    owner.partitions[0] = a_partition(actions=7, requests=9)
    in_doubt, led = a_chunk(9, 1, ASKED, lost=1), a_chunk(7, 1, LOG, lost=1)
    assert look(monkeypatch, owner, {}, led, leaderless=[ASKED], asked=asked) == {}
    assert asked == [LOG]
    assert (owner.is_in_doubt(led), owner.is_in_doubt(in_doubt)) == (False, True)
    with pytest.raises(LeaderNotAvailableError, match="ranking-requests partition 0 has no leader"):
        look(monkeypatch, owner, {}, in_doubt, leaderless=[ASKED])
    look(monkeypatch, owner, {}, in_doubt)
    assert not owner.is_in_doubt(in_doubt)


def test_reading_that_went_back_by_itself_is_set_right_where_nothing_is_lost(monkeypatch):
    owner, chunk = an_ownership(), a_chunk(0, leader_epoch=1)
    owner.partitions[0] = a_partition(actions=7)
    owner._plan.restart(LOG, 0)
    assert look(monkeypatch, owner, {}, chunk) == {LOG: 7}
    assert not owner._plan.is_current(chunk)


def test_a_group_that_is_ahead_of_its_topic_goes_on_at_the_topics_end(caplog):
    assert first_unanswered(ASKED, {ASKED: 9}, Bounds(2, 5)) == 5
    assert "ranking-requests 0 ends at offset 5, though requests before 9 were answered" in caplog.text
    assert first_unanswered(ASKED, {ASKED: 4}, Bounds(2, 5)) == 4
    assert first_unanswered(ASKED, {}, Bounds(2, 5)) == 2
