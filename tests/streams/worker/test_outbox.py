"""What is sent where a record is larger than its topic takes: known beforehand, or told by a refusal."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError, UnknownError, UnknownTopicOrPartitionError

from rankstream.features.stores.cache import Changes
from rankstream.ranking.request import FeedItem, Ranking, RankingRequest
from rankstream.streams.codec import encode_dead_letter, encode_feed
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.settings import Settings
from rankstream.streams.topics import TopicNames
from rankstream.streams.worker import limits
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.outbox import (
    ChangelogCutError,
    ChangelogLimitError,
    ClockRefusedError,
    Outbox,
    TopicGoneError,
)
from tests.builders.actions import MORNING_MS, ARecord
from tests.builders.broker import FullBatches

SERVED = Outgoing(Channel.SERVED, b"u1", b'{"request_id": "r1"}')


def a_feed(items: int) -> Outgoing:
    found = tuple(FeedItem(f"item-{n}", 0.5, {"save": 0.25}) for n in range(items))
    ranking = Ranking(found, ("save",), "m1", 3, 5, True, 0)
    return Outgoing(Channel.FEEDS, b"u1", encode_feed(RankingRequest("r1", "u1", limit=items), ranking, MORNING_MS))


def a_dead_letter(size: int) -> Outgoing:
    return Outgoing(Channel.DEAD_LETTERS, b"u1", encode_dead_letter(ARecord(b"x" * size), "not-json", "not JSON"))


@dataclass
class ABatch:
    records: list[tuple[bytes | None, bytes]] = field(default_factory=list)

    def append(self, *, key: bytes | None, value: bytes, timestamp: int | None, headers: Any = ()) -> object:
        self.records.append((key, value))
        return self

    def close(self) -> None:
        pass


@dataclass
class ABrokerWithALimit:
    """Takes values of up to ``limit`` bytes; those of ``send`` all stand in one batch, larger than it takes."""

    limit: int
    refusal: type[Exception] = MessageSizeTooLargeError
    sent: list[bytes] = field(default_factory=list)  # all values, taken or not
    taken: list[bytes] = field(default_factory=list)
    _message_accumulator: FullBatches = field(default_factory=FullBatches)

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> ABatch:
        return ABatch()

    async def send(self, topic: str, value: bytes, key: bytes, partition: int, headers: Any) -> asyncio.Future[None]:
        self.sent.append(value)
        return self._ack([], taken=False)

    async def send_batch(self, batch: ABatch, topic: str, partition: int) -> asyncio.Future[None]:
        values = [value for _, value in batch.records]
        self.sent += values
        return self._ack(values, taken=sum(map(len, values)) <= self.limit)

    def _ack(self, values: list[bytes], taken: bool) -> asyncio.Future[None]:
        ack: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if taken:
            self.taken += values
            ack.set_result(None)
        else:
            ack.set_exception(self.refusal())
        return ack


def sent(broker: ABrokerWithALimit, *outgoing: Outgoing, told: int | None = None) -> None:
    """Send all and settle the acknowledgements; the brokers tell that topics take ``told`` bytes, or nothing."""

    async def story() -> None:
        known = Limits(Settings(served_features=True))
        if told is not None:
            await known.read()
        outbox = Outbox(broker, TopicNames(), 0, known)
        await outbox.send(outgoing)
        await asyncio.gather(*outbox.take_acks())

    asyncio.run(story())


@pytest.fixture(autouse=True)
def limits_of(monkeypatch):
    """Brokers that tell what ``sent`` says they do."""
    told: dict[str, int] = {}

    async def answer(settings: Settings, topics: object) -> dict[str, int]:
        return told

    monkeypatch.setattr(limits, "limits_of", answer)
    return told


def reasons(values: list[bytes]) -> list[str | None]:
    return [json.loads(value).get("error", {}).get("reason") for value in values]


def test_a_record_whose_batch_was_refused_is_sent_alone_as_it_is():
    broker, feed = ABrokerWithALimit(10_000), a_feed(3)
    sent(broker, feed, a_feed(4))
    assert broker.taken == broker.sent[:2]


def test_a_record_that_is_refused_alone_too_is_shortened():
    broker = ABrokerWithALimit(5_000)
    sent(broker, a_feed(200), a_dead_letter(9_000))
    assert reasons(broker.taken) == ["too-large", None]
    assert json.loads(broker.taken[1])["value_bytes"] == 9_000


def test_a_feed_that_is_known_to_be_too_large_is_never_sent_nor_what_it_was_made_from(limits_of, caplog):
    limits_of |= {"ranked-feeds": 5_000, "served-features": 5_000}
    broker = ABrokerWithALimit(5_000)
    sent(broker, a_feed(200), SERVED, a_feed(2), SERVED, told=5_000)
    assert reasons(broker.sent[:3]) == ["too-large", None, None]
    assert broker.taken.count(SERVED.value) == 1
    (told,) = [record for record in caplog.records if "a feed of" in record.message]
    assert (told.request_id, told.user_id) == ("r1", "u1")


def test_what_no_size_helps_is_given_up_and_reported(caplog):
    broker = ABrokerWithALimit(0)
    sent(broker, a_feed(3))
    assert broker.taken == []
    assert "ranked-feeds refuses a record of partition 0 of any size" in caplog.text


def test_any_other_refusal_is_raised():
    with pytest.raises(UnknownError):
        sent(ABrokerWithALimit(10_000, UnknownError), a_feed(3))


def test_brokers_that_do_not_tell_leave_the_producers_own_limit(monkeypatch):
    async def refuse(settings: Settings, topics: object) -> dict[str, int]:
        raise TimeoutError

    async def story() -> Limits:
        known = Limits(Settings())
        await known.read()
        return known

    monkeypatch.setattr(limits, "limits_of", refuse)
    known = asyncio.run(story())
    assert (known.of("ranked-feeds"), known.batch_bytes) == (8 << 20, 1 << 20)


def test_a_producer_makes_no_batch_that_some_topic_refuses(limits_of):
    async def story() -> int:
        known = Limits(Settings())
        await known.read()
        return known.batch_bytes

    limits_of |= {"ranked-feeds": 4 << 20, "user-state-changelog": 500_000}
    assert asyncio.run(story()) == 500_000


def test_a_refusal_for_its_time_names_the_clock_and_what_to_do():
    with pytest.raises(ClockRefusedError, match=r"whose clock says 20\d\d-.*set it right, and start again"):
        sent(ABrokerWithALimit(10_000, InvalidTimestampError), a_feed(3))


@dataclass
class AnAck:
    offset: int


class ABrokerThatTellsOffsets(ABrokerWithALimit):
    """Says that the batches stand at these offsets."""

    def __init__(self, *offsets: int) -> None:
        super().__init__(10_000)
        self.offsets = list(offsets)

    def create_batch(self) -> ABatch:
        return AChangelogBatch()

    def _ack(self, values: list[bytes], taken: bool) -> asyncio.Future[None]:
        ack: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        ack.set_result(AnAck(self.offsets.pop(0)))
        return ack


class AChangelogBatch(ABatch):
    def append(self, *, key: bytes | None, value: bytes, timestamp: int | None, headers: object) -> object:
        return super().append(key=key, value=value, timestamp=timestamp)


def log_states(*offsets: int) -> None:
    """Log a state for each of these offsets, where it is said to stand."""

    async def story() -> None:
        outbox = Outbox(ABrokerThatTellsOffsets(*offsets), TopicNames(), 0, Limits(Settings()))
        for number in range(len(offsets)):
            await outbox.write([], Changes({b"u1": b"state"}, number), {})

    asyncio.run(story())


def test_a_changelog_that_is_shorter_than_it_was_is_refused_before_a_position_counts():
    log_states(7, 9, 12)
    log_states(-1, -1)  # a batch that the brokers had already: they don't say where
    with pytest.raises(ChangelogCutError, match="now stands at offset 9, and offset 12 was acknowledged before"):
        log_states(7, 12, 9)


class ABrokerWithoutTopic(ABrokerWithALimit):
    """The topic that is written to was deleted."""

    async def partitions_for(self, topic: str) -> set[int]:
        raise UnknownTopicOrPartitionError


def test_a_topic_that_was_deleted_under_the_worker_is_named():
    with pytest.raises(TopicGoneError, match=r"ranked-feeds is there no more, .*`rankstream topics create`"):
        sent(ABrokerWithoutTopic(10_000), a_feed(3))


def test_a_state_that_the_changelog_refuses_for_its_size_names_the_setting():
    async def story() -> None:
        outbox = Outbox(ABrokerWithALimit(3), TopicNames("shop."), 0, Limits(Settings()))
        await outbox.write([], Changes({b"u1": b"state"}, 1), {})

    with pytest.raises(ChangelogLimitError, match=r"shop\.user-state-changelog takes less .* max\.message\.bytes"):
        asyncio.run(story())
