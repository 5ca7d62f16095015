"""The baseline without realtime actions: the same ranker, with users' states as of the end of the past."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rankstream.cli.demo.traffic import events_of
from rankstream.events.log import EventLog
from rankstream.features.ids import Id, id_bytes
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.records import recorded_actions
from rankstream.streams.settings import Settings


@dataclass(frozen=True)
class UserPast:
    """What a user had done when the live part began."""

    actions: int
    newest_ms: int


@dataclass(frozen=True)
class NoRealtimeRanker:
    """Ranks in this process, with states that no longer change."""

    serving: LiveRanker
    users: UserCache
    past: Mapping[Id, UserPast]

    def rank(self, request: RankingRequest, now_ms: int) -> list[Id]:
        """Return the ids of the feed, best first."""
        state = self.users.get(id_bytes(request.user_id))
        ranking = self.serving.current.rank(request, state, now_ms)
        return [item.item_id for item in ranking.items]


def no_realtime_ranker(settings: Settings, past: EventLog) -> NoRealtimeRanker:
    """Drive the past through a pipeline without a broker, and stop there."""
    if settings.bundle is None:
        raise ValueError("no bundle to rank with; the demo exports one first")
    serving = LiveRanker.open(settings.bundle, settings.user_vectors, settings.item_counts, settings.item_vectors)
    pipeline = Pipeline(UserCache(MemoryStore()), serving)
    pipeline.on_actions(recorded_actions(events_of(past)))
    newest = dict(zip(past.user_ids.tolist(), past.times_ms.tolist(), strict=True))  # the log is sorted: last wins
    counts = Counter(past.user_ids.tolist())
    return NoRealtimeRanker(
        serving, pipeline.users, {user: UserPast(counts[user], at_ms) for user, at_ms in newest.items()}
    )
