"""The live stage: traffic into Kafka, feeds out of it, every feed judged beside its rivals.

One thread sends (and meanwhile ranks for the rival that sees no realtime actions), another reads the feeds.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from time import monotonic, sleep

from msgspec import UNSET

from rankstream.cli.demo.no_realtime import UserPast
from rankstream.cli.demo.scoreboard import FROZEN, HYBRID, POPULAR, K, Scoreboard, Scored
from rankstream.cli.demo.traffic import Step
from rankstream.events.action_event import ActionEvent
from rankstream.features.ids import Id
from rankstream.ranking.request import RankingRequest
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import FeedReader
from rankstream.streams.codec import RankedFeed

ANSWER_DEADLINE_S = 30.0

FrozenRanking = Callable[[RankingRequest, int], list[Id]]  # request, now_ms -> best K item ids


class NoAnswersError(Exception):
    """The worker stopped answering; the message says where its log is."""


@dataclass
class Asked:
    """A request on its way."""

    step: Step
    sent_at_s: float
    newest_ms: int | None  # of the user's newest action produced before it
    newest_sent_at_s: float | None
    history: int  # actions of the user so far
    frozen: list[Id] = field(default_factory=list)
    popular_place: int = 0
    feed: RankedFeed | None = None
    came_at_s: float = 0.0


class LiveTraffic:
    """Sends steps, reads feeds, fills the scoreboard."""

    def __init__(
        self,
        producer: Producer,
        reader: FeedReader,
        board: Scoreboard,
        frozen: FrozenRanking,
        popular: Mapping[Id, int],
        past: Mapping[Id, UserPast],
    ) -> None:
        self._producer, self._reader, self._board = producer, reader, board
        self._frozen, self._popular = frozen, popular
        self._newest: dict[Id, tuple[int, float | None]] = {user: (one.newest_ms, None) for user, one in past.items()}
        self._counts = Counter({user: one.actions for user, one in past.items()})
        self._waiting: dict[Id, Asked] = {}
        self._answered: list[Asked] = []
        self._numbers = count(1)
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def run(self, steps: Iterable[Step], on_step: Callable[[int], None], alive: Callable[[], None]) -> int:
        """Send all steps and wait for the last feeds; give the number of actions. Raises ``NoAnswersError``."""
        reading = threading.Thread(target=self._read, name="feeds", daemon=True)
        reading.start()
        sent = 0
        try:
            for sent, step in enumerate(steps, start=1):
                if step.asks:
                    self._ask(step)
                    self._wait_for_feed(alive)
                self._act(step)
                self._judge()
                on_step(sent)
            self._producer.flush()
        finally:
            self._stop.set()
            reading.join()
        return sent

    def _act(self, step: Step) -> None:
        event = ActionEvent(step.user_id, step.item_id, step.action, step.timestamp_ms)
        self._producer.send_action(event)
        self._newest[step.user_id] = (step.timestamp_ms, monotonic())
        self._counts[step.user_id] += 1

    def _ask(self, step: Step) -> None:
        """Send a request for all that the user has not met, and rank it for the rivals while the worker does."""
        now_ms = step.timestamp_ms
        newest_ms, newest_sent_at_s = self._newest.get(step.user_id, (None, None))
        name = f"r{next(self._numbers)}"
        asked = Asked(step, monotonic(), newest_ms, newest_sent_at_s, self._counts[step.user_id])
        self._waiting[name] = asked
        request = RankingRequest(name, step.user_id, candidates=step.asks, top_k=K, timestamp_ms=now_ms)
        self._producer.send_request(request)
        asked.frozen = self._frozen(request, now_ms)
        asked.popular_place = self._popular_place(step)

    def _popular_place(self, step: Step) -> int:
        mine = self._popular.get(step.item_id, 0)
        ahead = [one for one in step.asks if self._popular.get(one, 0) > mine]
        ties = sum(self._popular.get(one, 0) == mine for one in step.asks[: step.asks.index(step.item_id)])
        return 1 + len(ahead) + ties

    def _wait_for_feed(self, alive: Callable[[], None]) -> None:
        """Let nothing happen before the feed is there.

        MovieLens has many actions of one second: what the user did next would be known to a feed of that second.
        """
        deadline = monotonic() + ANSWER_DEADLINE_S
        while self._waiting:
            if self._failure is not None:
                raise self._failure
            alive()
            if monotonic() > deadline:
                raise NoAnswersError(f"no feed came for {ANSWER_DEADLINE_S:.0f} s")
            sleep(0.001)

    def _read(self) -> None:
        """Note when each feed came; runs in its own thread."""
        try:
            while not self._stop.is_set():
                for feed in self._reader.feeds(timeout_s=0.05):
                    came_at_s = monotonic()
                    asked = self._waiting.get(feed.request_id)
                    if asked is not None and asked.feed is None:
                        asked.feed, asked.came_at_s = feed, came_at_s
                        self._answered.append(asked)
                        del self._waiting[feed.request_id]
        except BaseException as exc:  # handed over to the sending thread
            self._failure = exc

    def _judge(self) -> None:
        """Judge the feeds that have come and whose rivals have ranked."""
        while self._answered and self._answered[0].popular_place:
            asked = self._answered.pop(0)
            feed = asked.feed
            if feed is None or feed.items is UNSET:
                self._board.errors += 1
            else:
                self._board.add(judged(asked, feed))


def judged(asked: Asked, feed: RankedFeed) -> Scored:
    """Judge one feed by where it put the item of the action that followed."""
    step = asked.step
    ids = [] if feed.items is UNSET else [item.item_id for item in feed.items]
    age_ms = None if feed.newest_action_age_ms is UNSET else feed.newest_action_age_ms
    expected_ms = None if asked.newest_ms is None else step.timestamp_ms - asked.newest_ms
    sent_at_s = asked.newest_sent_at_s
    return Scored(
        user=step.user_id,
        candidates=len(step.asks),
        places={
            HYBRID: _place(step.item_id, ids),
            FROZEN: _place(step.item_id, asked.frozen),
            POPULAR: asked.popular_place,
        },
        history=asked.history,
        latency_ms=1000 * (asked.came_at_s - asked.sent_at_s),
        fresh=age_ms == expected_ms,
        newest_age_ms=None if sent_at_s is None or age_ms != expected_ms else 1000 * (asked.came_at_s - sent_at_s),
    )


def _place(wanted: Id, ranked: list[Id]) -> int | None:
    return ranked.index(wanted) + 1 if wanted in ranked else None
