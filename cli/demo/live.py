"""The live stage: traffic into Kafka, feeds out of it, every feed scored beside the baselines.

One thread sends (and meanwhile ranks for the baseline without realtime actions), another reads the feeds.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from time import monotonic, sleep

from msgspec import UNSET

from rankstream.cli.demo.no_realtime import UserPast
from rankstream.cli.demo.scoreboard import FOUND, HYBRID, LIMIT, NO_REALTIME, K, Scoreboard, Scored
from rankstream.cli.demo.traffic import Step
from rankstream.events.action_event import ActionEvent
from rankstream.features.ids import Id
from rankstream.ranking.request import RankingRequest
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import FeedReader
from rankstream.streams.codec import RankedFeed

ANSWER_DEADLINE_S = 30.0
# Between a user's newest action and the request after it, at least: the log's seconds pass here in no time, so requests
# overtook actions that nobody takes and asks again so soon after, and the baselines knew these.
SINCE_ACTION_S = 0.03

RankIds = Callable[[RankingRequest, int], list[Id]]  # request, now_ms -> best K item ids


class NoAnswersError(Exception):
    """The worker stopped answering; the message names its log."""


@dataclass
class PendingRequest:
    """A request in flight, and then its feed."""

    step: Step
    sent_at_s: float
    newest_ms: int | None  # of the user's newest action produced before it
    newest_sent_at_s: float | None
    history: int  # actions of the user so far
    baselines: Mapping[str, int]  # rank of the item that will be acted on, by each
    no_realtime: list[Id] | None = None
    feed: RankedFeed | None = None
    came_at_s: float = 0.0
    found: RankedFeed | None = None  # the feed of the films that were found for it


class LiveTraffic:
    """Sends steps, reads feeds, fills the scoreboard."""

    def __init__(
        self,
        producer: Producer,
        reader: FeedReader,
        board: Scoreboard,
        no_realtime: RankIds,
        baselines: Iterator[Mapping[str, int]],
        past: Mapping[Id, UserPast],
    ) -> None:
        self._producer, self._reader, self._board = producer, reader, board
        self._no_realtime, self._baselines = no_realtime, baselines
        self._newest: dict[Id, tuple[int, float | None]] = {user: (one.newest_ms, None) for user, one in past.items()}
        self._counts = Counter({user: one.actions for user, one in past.items()})
        self._waiting: dict[Id, PendingRequest] = {}
        self._answered: list[PendingRequest] = []
        self._numbers = count(1)
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def run(self, steps: Iterable[Step], on_step: Callable[[int], None], alive: Callable[[], None]) -> int:
        """Send all steps and wait for the last feeds; return the number of actions. Raises ``NoAnswersError``."""
        reading = threading.Thread(target=self._read, name="feeds", daemon=True)
        reading.start()
        sent = 0
        try:
            for sent, step in enumerate(steps, start=1):
                if step.candidates:
                    pending = self._request(step)
                    self._wait_for_feed(alive)
                    self._let_find(pending)
                    self._wait_for_feed(alive)
                self._act(step)
                self._score()
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

    def _request(self, step: Step) -> PendingRequest:
        """Send a request for all items that the user has not seen, and rank without realtime actions meanwhile."""
        now_ms = step.timestamp_ms
        newest_ms, newest_sent_at_s = self._newest.get(step.user_id, (None, None))
        if newest_sent_at_s is not None:
            sleep(max(0.0, newest_sent_at_s + SINCE_ACTION_S - monotonic()))
        name = f"r{next(self._numbers)}"
        history, baselines = self._counts[step.user_id], next(self._baselines)
        pending = PendingRequest(step, monotonic(), newest_ms, newest_sent_at_s, history, baselines)
        self._waiting[name] = pending
        request = RankingRequest(name, step.user_id, candidates=step.candidates, top_k=K, timestamp_ms=now_ms)
        self._producer.send_request(request)
        pending.no_realtime = self._no_realtime(request, now_ms)
        return pending

    def _let_find(self, pending: PendingRequest) -> None:
        """Ask once more for the same user at the same time, and name no film."""
        step, name = pending.step, f"r{next(self._numbers)}"
        self._waiting[name] = pending
        at_ms = step.timestamp_ms
        self._producer.send_request(RankingRequest(name, step.user_id, limit=LIMIT, top_k=K, timestamp_ms=at_ms))

    def _wait_for_feed(self, alive: Callable[[], None]) -> None:
        """Send nothing more before the feed is there.

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
                    pending = self._waiting.get(feed.request_id)
                    if pending is None:
                        continue
                    if pending.feed is None:
                        pending.feed, pending.came_at_s = feed, came_at_s
                    else:
                        pending.found = feed
                        self._answered.append(pending)
                    del self._waiting[feed.request_id]
        except BaseException as exc:  # handed over to the sending thread
            self._failure = exc

    def _score(self) -> None:
        """Score the feeds that have come."""
        while self._answered:
            pending = self._answered.pop(0)
            feed = pending.feed
            if feed is None or feed.items is UNSET:
                self._board.errors += 1
            else:
                self._board.add(scored(pending, feed))


def scored(pending: PendingRequest, feed: RankedFeed) -> Scored:
    """Score one feed by the rank of the item of the action that followed."""
    step = pending.step
    age_ms = None if feed.newest_action_age_ms is UNSET else feed.newest_action_age_ms
    expected_ms = None if pending.newest_ms is None else step.timestamp_ms - pending.newest_ms
    sent_at_s = pending.newest_sent_at_s
    return Scored(
        user=step.user_id,
        candidates=len(step.candidates),
        ranks={
            HYBRID: _rank(step.item_id, _ids(feed)),
            FOUND: _rank(step.item_id, _ids(pending.found)),
            NO_REALTIME: _rank(step.item_id, pending.no_realtime or []),
            **pending.baselines,
        },
        history=pending.history,
        latency_ms=1000 * (pending.came_at_s - pending.sent_at_s),
        fresh=age_ms == expected_ms,
        newest_age_ms=None if sent_at_s is None or age_ms != expected_ms else 1000 * (pending.came_at_s - sent_at_s),
    )


def _ids(feed: RankedFeed | None) -> list[Id]:
    return [] if feed is None or feed.items is UNSET else [item.item_id for item in feed.items]


def _rank(item: Id, ranked: list[Id]) -> int | None:
    return ranked.index(item) + 1 if item in ranked else None
