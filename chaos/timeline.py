"""What happened when: what a run's plot is drawn from, and written as JSON beside it."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import msgspec
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from chaos.load import Load
from chaos.plan import Fault
from chaos.storm import JUMP_S
from chaos.system import Condition
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, TopicNames

EVERY_S = 1.0  # between two looks at the group's offsets


@dataclass(frozen=True)
class Answer:
    """How long a request waited for its first answer."""

    asked_s: float  # after the start
    waited_s: float | None  # None: it was never answered


@dataclass
class Span:
    """One worker, or the broker, in one condition."""

    worker: int  # by number; the broker has the number behind them
    condition: Condition
    from_s: float
    to_s: float


@dataclass
class Timeline:
    """All that is known of the time of a run; seconds count from the start of the load."""

    faults: list[Fault] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    sent: list[tuple[float, int]] = field(default_factory=list)  # time, actions sent so far
    applied: list[tuple[float, int]] = field(default_factory=list)  # time, actions that the group has committed
    answers: list[Answer] = field(default_factory=list)
    _last: dict[int, Span] = field(default_factory=dict)  # of each worker

    def see(self, at_s: float, conditions: Iterable[Condition]) -> None:
        """Note what the workers are doing, and the broker behind them."""
        for worker, condition in enumerate(conditions):
            before = self._last.get(worker)
            if before is not None:
                before.to_s = round(at_s, 1)
            if before is None or before.condition is not condition:
                self._last[worker] = Span(worker, condition, round(at_s, 1), round(at_s, 1))
                self.spans.append(self._last[worker])

    def written(self) -> bytes:
        """Return it as JSON."""
        shown = {name: getattr(self, name) for name in ("faults", "spans", "sent", "applied", "answers")}
        return msgspec.json.encode(shown)


class Committed:
    """Looks at what the group has committed, while brokers may be away."""

    def __init__(self, settings: Settings, timeline: Timeline, load: Load, started_at: float) -> None:
        self.stopped = threading.Event()
        self._settings, self._timeline, self._load, self._started_at = settings, timeline, load, started_at
        self._topic = TopicNames(settings.topic_prefix).of(ACTIONS)

    def run(self) -> None:
        """Look until told to stop."""
        while not self.stopped.wait(EVERY_S):
            with suppress(KafkaError, OSError, ValueError):
                self._look()

    def _look(self) -> None:
        with closing(KafkaAdminClient(bootstrap_servers=self._settings.bootstrap_servers)) as admin:
            while not self.stopped.wait(EVERY_S):
                self._timeline.sent.append((self._now_s, self._load.actions))
                offsets: dict[Any, Any] = admin.list_group_offsets(self._settings.app_id)[self._settings.app_id]
                done = sum(max(0, int(one.offset)) for tp, one in offsets.items() if tp.topic == self._topic)
                self._timeline.applied.append((self._now_s, done))

    @property
    def _now_s(self) -> float:
        return round(monotonic() - self._started_at, 1)


@contextmanager
def looking(settings: Settings, timeline: Timeline, load: Load, started_at: float) -> Iterator[None]:
    """Look at what is committed for as long as the block takes."""
    committed = Committed(settings, timeline, load, started_at)
    threading.Thread(target=committed.run, name="committed", daemon=True).start()
    try:
        yield
    finally:
        committed.stopped.set()


def waited_of(asked_ms: int, answered_ms: int) -> float:
    """Return how long a request waited by its records' times; a worker's clock may have been ``JUMP_S`` off."""
    waited_s, half_s = (answered_ms - asked_ms) / 1000, JUMP_S / 2
    return round((waited_s + half_s) % JUMP_S - half_s, 3)
