"""Producers: bytes or events, each acknowledged or reported."""

from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Self

import msgspec

from rankstream.content.items import Item
from rankstream.events.action_event import ActionEvent, ErasureEvent
from rankstream.events.impression_event import ImpressionEvent
from rankstream.features.ids import Id, id_bytes
from rankstream.ranking.request import RankingRequest
from rankstream.streams.clients.carriers import Carrier, SingleRecords
from rankstream.streams.clients.connect import ClientError, require_operation, require_topics
from rankstream.streams.clients.rights import WRITE, is_denial
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, IMPRESSIONS, ITEM_UPDATES, REQUESTS, Topic, TopicNames
from rankstream.streams.tracing import Headers

KEYS_REMEMBERED = 200_000  # of users


class KeysOfUsers(dict[Id, bytes]):
    """The keys of users' records, each made once: most users come more than once."""

    def __missing__(self, user_id: Id) -> bytes:
        key = self[user_id] = id_bytes(user_id)
        return key


class RawProducer:
    """Sends bytes to topics that exist, all of them acknowledged by every replica in sync."""

    def __init__(
        self, settings: Settings, topics: Collection[str], carrier: Callable[[Settings], Carrier] = SingleRecords
    ) -> None:
        """``carrier`` is ``WholeBatches`` where topics are filled, and no record waits for an answer."""
        require_topics(settings, topics, WRITE)
        self._settings, self._topics = settings, topics
        self._carrier = carrier(settings)
        self.send = self._carrier.send

    @property
    def taken(self) -> int:
        """How many records were handed over since it was opened."""
        return self._carrier.taken

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until the brokers have all that was sent. Raises ``ClientError`` if they don't take it."""
        self._carrier.flush(timeout_s)
        count, first = self._carrier.take_failures()
        if first is None:
            return
        if is_denial(first):  # since the producer was opened
            require_operation(self._settings, self._topics, WRITE)
        raise ClientError(f"the brokers refused {count:,} records, the first with: {first}")

    def close(self) -> None:
        """Close the connection; flush first."""
        self._carrier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()


class Producer(RawProducer):
    """Sends actions, requests, impressions and items; all records of a user, or of an item, go to one partition."""

    def __init__(
        self,
        settings: Settings,
        also: Collection[Topic] = (),
        carrier: Callable[[Settings], Carrier] = SingleRecords,
    ) -> None:
        """``also`` are topics that must be there besides those of actions and requests."""
        names = TopicNames(settings.topic_prefix)
        self._actions, self._requests, self._impressions = map(names.of, (ACTIONS, REQUESTS, IMPRESSIONS))
        self._items = names.of(ITEM_UPDATES)
        super().__init__(settings, [self._actions, self._requests, *map(names.of, also)], carrier)
        encoder = msgspec.json.Encoder()
        self._encode, self._encode_lines = encoder.encode, encoder.encode_lines
        self._key_of = KeysOfUsers()

    def send_action(self, event: ActionEvent | ErasureEvent, headers: Headers = ()) -> None:
        """Queue one action, or the erasure of a user; ``headers`` of the record, as a trace's."""
        self.send(self._actions, id_bytes(event.user_id), self._encode(event), headers)

    def send_actions(self, events: Sequence[ActionEvent | ErasureEvent]) -> None:
        """Queue many actions, and erasures of users, in order: the same records in half the time."""
        values = self._encode_lines(events).split(b"\n")  # within JSON a line break is written out
        values.pop()  # behind the last one
        if len(self._key_of) >= KEYS_REMEMBERED:
            self._key_of.clear()
        key_of = self._key_of
        self._carrier.send_many(self._actions, [key_of[event.user_id] for event in events], values)

    def send_impressions(self, event: ImpressionEvent) -> None:
        """Queue one list that a user was shown; the producer was made with the topic impressions."""
        self.send(self._impressions, id_bytes(event.user_id), self._encode(event))

    def send_item(self, item: Item) -> None:
        """Queue what is known of an item; the producer was made with the topic item-updates."""
        self.send(self._items, id_bytes(item.id), self._encode(item))

    def remove_item(self, item_id: Id) -> None:
        """Queue that an item is gone; the producer was made with the topic item-updates."""
        self.send(self._items, id_bytes(item_id), None)

    def send_request(self, request: RankingRequest, headers: Headers = ()) -> None:
        """Queue one request; ``headers`` of the record, as a trace's."""
        self.send(self._requests, id_bytes(request.user_id), self._encode(request), headers)
