"""Actions on a topic with times of their own, and the counters of items that read them."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from rankstream.events.action_event import FORGET
from rankstream.features.ids import Id, id_bytes
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.item_counts.files import open_counts, open_counts_version
from rankstream.streams.clients.item_counter import ItemCounter, Pace
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, IMPRESSIONS, TopicNames

MINUTE = 60_000
START_MS = (time.time_ns() // 1_000_000 // 3_600_000 - 3) * 3_600_000  # recent, so that no broker deletes it
EVERY_MS = 10 * MINUTE
Act = tuple[Id, Id, str, float]  # user, item, action, minutes after the start


class Clock:
    """The time that a counter takes it to be: minutes after the start."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes

    def __call__(self) -> int:
        return START_MS + round(self.minutes * MINUTE)


class Senders:
    """Sends records as of their time: when they are said to have arrived."""

    def __init__(self, settings: Settings) -> None:
        self.names = TopicNames(settings.topic_prefix)
        self.kafka = KafkaProducer(bootstrap_servers=settings.bootstrap_servers)

    def act(self, *acts: Act, arrived: float | None = None) -> None:
        """Send actions, and erasures of users where the action is ``forget``."""
        for user, item, action, minutes in acts:
            event: dict[str, Any] = {"user_id": user, "action": action, "timestamp_ms": at_ms(minutes)}
            event |= {} if action == FORGET else {"item_id": item}
            self.raw(id_bytes(user), json.dumps(event).encode(), minutes if arrived is None else arrived)
        self.kafka.flush()

    def show(self, name: Id, user: Id, items: Sequence[Id], minutes: float) -> None:
        """Send a list that a user was shown."""
        event = {"list_id": name, "user_id": user, "item_ids": items, "timestamp_ms": at_ms(minutes)}
        topic = self.names.of(IMPRESSIONS)
        self.kafka.send(topic, json.dumps(event).encode(), id_bytes(user), timestamp_ms=at_ms(minutes))
        self.kafka.flush()

    def raw(self, key: bytes, value: bytes, minutes: float, partition: int | None = None) -> None:
        """Send what may be no action."""
        self.kafka.send(self.names.of(ACTIONS), value, key, partition=partition, timestamp_ms=at_ms(minutes))


def at_ms(minutes: float) -> int:
    """A time, so many minutes after the start."""
    return START_MS + round(minutes * MINUTE)


def rows_of(acts: Sequence[Act]) -> list[tuple[Id, Id, str, int]]:
    """The actions as rows of a log."""
    return [(user, item, action, at_ms(minutes)) for user, item, action, minutes in acts]


def a_counter(settings: Settings, bundle: Path, root: Path, minutes: float, **options: Any) -> ItemCounter:
    """A counter whose clock stands so many minutes after the start."""
    pace = options.pop("pace", Pace(EVERY_MS, grace_ms=0, keep=100))
    return ItemCounter(replace(settings, bundle=bundle), root, pace, clock=Clock(minutes), **options)


def published(settings: Settings, bundle: Path, root: Path, minutes: float, **options: Any) -> ItemCounts | None:
    """What a counter publishes that is started at a time; None where it publishes nothing."""
    with a_counter(settings, bundle, root, minutes, **options) as counter:
        found = counter.read_to_end()
    return None if found is None else open_counts_version(found.folder)


def newest(root: Path) -> ItemCounts:
    """The version that workers would follow."""
    return open_counts(root)
