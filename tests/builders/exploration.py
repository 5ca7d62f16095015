"""A small system that explores, and users whose probability of saving each item is known."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from rankstream.events.action_event import ActionEvent
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.policies import Limits, Policy
from rankstream.ranking.request import RankingRequest
from rankstream.streams.codec import RankedFeed
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.records import Channel, recorded_actions, recorded_request
from rankstream.streams.settings import Settings
from rankstream.streams.worker.open_serving import open_serving
from tests.builders.actions import MORNING_MS
from tests.builders.bundle import a_bundle

LOOKS_ON = 0.6  # probability of looking at the second position


@dataclass
class Explored:
    """Feeds that were served with exploration, and what users did with them."""

    feeds: list[RankedFeed] = field(default_factory=list)
    actions: list[ActionEvent] = field(default_factory=list)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """The feeds as `rankstream watch --json` prints them, and the actions as JSON lines."""
        paths = folder / "feeds.jsonl", folder / "actions.jsonl"
        for path, values in zip(paths, (self.feeds, self.actions), strict=True):
            path.write_bytes(b"".join(msgspec.json.encode(value) + b"\n" for value in values))
        return paths

    def value(self, policy: Policy, positions: int) -> float:
        """The saves that a policy over the same scores would have got a feed: exact."""
        return float(np.mean([_value(feed, policy, positions) for feed in self.feeds]))


def with_sources(feed: RankedFeed) -> RankedFeed:
    """The feed, with its two items of the lowest ids proposed by an interest each, the others by matches."""
    lowest = sorted(int(item.item_id) for item in feed.items)[:2]
    source_of = {item: f"interest:{number}" for number, item in enumerate(lowest, start=1)}
    items = [msgspec.structs.replace(item, source=source_of.get(int(item.item_id), "matches")) for item in feed.items]
    return msgspec.structs.replace(feed, items=items)


def p_save(feed: RankedFeed) -> np.ndarray:
    """How likely the user saves each item that he looks at: more where the score is high, and by his affinity to it."""
    scores = np.array([item.score for item in feed.items])
    affinities = np.array([hash((int(feed.user_id), int(item.item_id))) % 97 / 97 for item in feed.items])
    return (0.2 + 0.6 * affinities) / (1 + np.exp(-scores))


@cache
def the_explored() -> Explored:
    """The one that tests share, as serving it takes seconds: 900 feeds of 50 users."""
    with TemporaryDirectory() as folder:
        return explored(Path(folder))


def explored(
    folder: Path, users: int = 50, requests: int = 18, exploration: str = "plackett-luce", seed: int = 0, **more: Any
) -> Explored:
    """Let every user act a little, then ask again and again; saves are not applied, so states stay."""
    settings = Settings(bundle=a_bundle(folder / "bundle"), exploration=exploration, exploration_temperature=1.5)
    pipeline = Pipeline(UserCache(MemoryStore()), open_serving(settings), clock=lambda: MORNING_MS)
    rng, world = np.random.default_rng(seed), Explored()
    past = [
        ActionEvent(user, int(item), "save", MORNING_MS - 60_000 * (n + 1))
        for user in range(users)
        for n, item in enumerate(rng.integers(1, 200, 5))
    ]
    pipeline.on_actions(recorded_actions(past))
    for number in range(users * requests):
        items = tuple((1 + rng.choice(200, 5, replace=False)).tolist())
        request = RankingRequest(f"r{number}", number % users, candidates=items, **more)
        at_ms = MORNING_MS + 3_600_000 * (number // users)
        (sent,) = pipeline.on_requests([recorded_request(request, number, at_ms)]).answer()
        assert sent.channel is Channel.FEEDS
        feed = msgspec.structs.replace(msgspec.json.decode(sent.value, type=RankedFeed), ranked_at_ms=at_ms)
        world.feeds.append(feed)
        world.actions.extend(_saves(feed, rng))
    return world


def _saves(feed: RankedFeed, rng: np.random.Generator) -> list[ActionEvent]:
    likes = p_save(feed)
    seen = 2 if rng.random() < LOOKS_ON else 1
    return [
        ActionEvent(feed.user_id, item.item_id, "save", feed.ranked_at_ms + 5_000 * (position + 1))
        for position, item in enumerate(feed.items[:seen])
        if rng.random() < likes[position]
    ]


def _value(feed: RankedFeed, policy: Policy, positions: int) -> float:
    likes, scores = p_save(feed), np.array([item.score for item in feed.items])
    first = policy.next_propensities(scores, [], Limits())
    value = float(first @ likes)
    if positions == 2:
        second = [
            policy.next_propensities(scores, [position], Limits()) @ likes if first[position] else 0.0
            for position in range(len(scores))
        ]
        value += LOOKS_ON * float(first @ np.array(second))
    return value
