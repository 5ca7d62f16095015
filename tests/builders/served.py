"""A day of a small system, as its topics hold it: actions, requests, and what a worker logged beside each feed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from rankstream.evaluation.audit.verify import Report, verify
from rankstream.evaluation.point_in_time import RankersAsServed
from rankstream.events.action_event import FORGET, ActionEvent, ErasureEvent, Recorded
from rankstream.events.dumps import dump_path, write_dump
from rankstream.features.schema import FeatureSizes
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.exploration import NO_EXPLORATION, Exploration
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.pipeline import Pipeline, ServingState
from rankstream.streams.records import Channel, Outgoing, recorded_actions, recorded_request
from tests.builders.actions import MORNING_MS
from tests.builders.bundle import SIZES, a_bundle, a_user_table

SECOND_MS = 1_000
USERS: Sequence[int | str] = (*(f"u{n}" for n in range(4)), 7, "ключ")


@dataclass(frozen=True)
class Day:
    """What the topics hold at its end; a copy of it may be tampered with."""

    actions: list[Recorded]
    requests: list[Recorded]
    served: list[Recorded]
    bundle: Path
    user_vectors: Path
    history_limit: int
    item_counts: Path | None = None
    item_vectors: Path | None = None
    interests: Path | None = None
    graph: Path | None = None
    forget_after_ms: int = 0

    def rankers(self) -> RankersAsServed:
        tables = self.user_vectors, self.item_counts
        beside = {"item_vectors": self.item_vectors, "interests": self.interests, "graph": self.graph}
        return RankersAsServed(open_bundle(self.bundle), *tables, **beside)

    def verify(
        self, tolerance: float = 0.0, rankers: RankersAsServed | None = None, variant: RankersAsServed | None = None
    ) -> Report:
        logs, kept = (self.served, self.requests, self.actions), (self.history_limit, tolerance, self.forget_after_ms)
        return verify(*logs, rankers or self.rankers(), *kept, variant)

    def dump(self, folder: Path) -> Path:
        folder.mkdir()
        for name, records in (
            ("user-actions", self.actions), ("ranking-requests", self.requests), ("served-features", self.served),
        ):  # fmt: skip
            write_dump(dump_path(folder, name), records)
        return folder


def changed(record: Recorded, **fields: Any) -> Recorded:
    """The record with other fields in its value."""
    return replace(record, value=msgspec.json.encode(msgspec.json.decode(record.value or b"") | fields))


def some_events(count: int, seed: int = 0, users: Sequence[int | str] = USERS) -> list[ActionEvent]:
    """Actions of all kinds, sessions that end, and one in ten late, twice or of an unknown item."""
    rng = random.Random(seed)
    events: list[ActionEvent] = []
    at_ms = MORNING_MS
    for number in range(count):
        at_ms += rng.choice([1, 5, 20, 20, 400]) * SECOND_MS
        late_ms = rng.choice([0] * 9 + [3_600]) * SECOND_MS
        item = "new item" if number % 10 == 9 else rng.randrange(1, 200)
        event = ActionEvent(
            rng.choice(users), item, rng.choice(["view", "click", "save", "hide"]), at_ms - late_ms,
            rng.choice(["home", "search", None]), rng.choice([None, 3.5]),
        )  # fmt: skip
        events += [event] * rng.choice([1] * 9 + [2])
    return events


def a_day(
    folder: Path,
    actions: int = 600,
    requests_every: int = 20,
    history_limit: int = 20,
    serving: ServingState | None = None,
    exploration: Exploration = NO_EXPLORATION,
    sizes: FeatureSizes = SIZES,
    ahead_ms: int = 0,
    erase_every: int | None = None,
    forget_after_ms: int = 0,
) -> Day:
    """Serve a day in process and keep its topics; the short history lets sessions leave it and be folded.

    The clocks that stamp actions are ``ahead_ms`` ahead of those that stamp records. A user is erased every so many
    actions.
    """
    bundle, vectors = folder / "bundle", folder / "users"
    if serving is None:
        users = a_user_table(vectors, USERS[:4])
        serving = LiveRanker.open(a_bundle(bundle, sizes=sizes), users, exploration=exploration)
    kept = UserCache(MemoryStore(), history_limit, forget_after_ms=forget_after_ms)
    pipeline = Pipeline(kept, serving, log_served=True)
    day = Day([], [], [], bundle, vectors, history_limit, forget_after_ms=forget_after_ms)
    log = recorded_actions(_erasing(some_events(actions), erase_every))
    log = [replace(one, timestamp=one.timestamp - ahead_ms) for one in log]
    for number, record in enumerate(log):
        pipeline.on_actions([record])
        if number % requests_every == 0:
            ask = a_question(number)
            day.requests.append(recorded_request(ask, len(day.requests), record.timestamp + SECOND_MS))
            outgoing = pipeline.on_requests(day.requests[-1:]).answer()
            day.served.extend(served_records(outgoing, len(day.served), record.timestamp))
    day.actions.extend(log)
    return day


def _erasing(events: list[ActionEvent], every: int | None) -> Iterator[ActionEvent | ErasureEvent]:
    for number, event in enumerate(events, start=1):
        yield event
        if every is not None and number % every == 0:
            yield ErasureEvent(USERS[number // every % len(USERS)], FORGET, event.timestamp_ms)


def a_question(number: int) -> RankingRequest:
    """A request with candidates, groups or neither, of one surface, an unknown one or none, by its number."""
    user = USERS[number * 7 % len(USERS)] if number % 9 else "unknown"
    surface = ("home", "search", "attic", None)[number // 20 % 4]
    if number % 3 == 0:
        return RankingRequest(f"r{number}", user, limit=12, top_k=5, surface=surface)
    items = tuple(1 + (number * n) % 230 for n in range(1, 25))
    if number % 3 == 1:
        return RankingRequest(f"r{number}", user, candidates=items, surface=surface)
    groups = tuple(n % 4 for n in range(24))
    return RankingRequest(f"r{number}", user, candidates=items, groups=groups, max_per_group=2, surface=surface)


def served_records(outgoing: list[Outgoing], offset: int, at_ms: int) -> Iterator[Recorded]:
    for one in outgoing:
        if one.channel is Channel.SERVED:
            yield Recorded("served-features", 0, offset, at_ms, one.key, one.value)
