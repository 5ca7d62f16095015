"""Looks at a worker for whoever watches it: its metrics, its readiness, whether its loop turns and brokers answer."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from faust.types import TP

from rankstream.ranking.served_versions import ServedVersion
from rankstream.streams.broker_watch import LOOK_EVERY_S, LOOK_S, BrokerWatch
from rankstream.streams.clients.broker_asker import BrokerAsker
from rankstream.streams.clients.throttling import Throttling
from rankstream.streams.counters import Counters
from rankstream.streams.exposition import Exposition
from rankstream.streams.heartbeat import Heartbeat
from rankstream.streams.pipeline import ServingState
from rankstream.streams.settings import Settings
from rankstream.streams.worker.admission import Swaps
from rankstream.streams.worker.backpressure import Pressure
from rankstream.streams.worker.figures import figures_of
from rankstream.streams.worker.ownership import Ownership
from rankstream.streams.worker.readiness import Readiness, restoring_of, why_not_ready
from rankstream.streams.worker.telemetry import WORKER_METRICS, WorkerLook


@runtime_checkable
class HasVersions(Protocol):
    """A serving state that says which versions serve, as ``ranking.serving.LiveRanker``."""

    def versions(self) -> Mapping[str, ServedVersion]:
        """Return them by kind."""
        ...


class Observer:
    """Reads, and changes nothing."""

    def __init__(
        self,
        settings: Settings,
        serving: ServingState,
        pressure: Pressure,
        end_of: Callable[[TP], int | None],
        throttling: Throttling | None = None,
    ) -> None:
        self.heartbeat = Heartbeat()
        self.broker = BrokerWatch(
            settings.bootstrap_servers, self._is_answered, patience_s=min(LOOK_S, settings.session_timeout_s / 2)
        )
        self.ownership: Ownership | None = None  # None before the start
        self.asker: BrokerAsker | None = None
        self.has_joined = False  # the group, and opened what that gave it
        self.is_leaving = False  # it was asked to end
        self.registry_away: Callable[[], str] = lambda: ""  # why the schema registry gives no schema; "" where it does
        self._settings = settings
        self._serving = serving
        self._pressure = pressure
        self._throttling = throttling or Throttling()
        self._end_of = end_of  # of a topic's partition, as the broker told last; None where it has not yet
        self._exposition = Exposition(WORKER_METRICS, self.look)
        self._told = self.look()  # in the log

    # --- kept up to date

    async def watch_broker(self) -> None:
        """Ask for ever whether a broker answers, once there is somebody who asks."""
        while self.asker is None:
            await asyncio.sleep(LOOK_EVERY_S)
        self.broker.seen()  # by its start
        await self.broker.watch()

    async def _is_answered(self) -> bool:
        if self._throttling.holds_back:
            return True  # it has said so
        return self.asker is not None and await self.asker.is_answered()

    # --- looked at

    def metrics(self) -> bytes:
        """Return what Prometheus reads."""
        return self._exposition.text()

    def look(self) -> WorkerLook:
        """Return the worker as it is now."""
        owner = self.ownership
        partitions = [] if owner is None else list(owner.partitions.values())
        return WorkerLook(
            counters=Counters() if owner is None else owner.counters(),
            partitions=partitions,
            figures=figures_of(partitions),
            lag=self.lag(),
            pending=self._pressure.waiting,
            pending_bytes=self._pressure.waiting_bytes,
            opening=0 if owner is None else len(owner.opening),
            restoring=() if owner is None else owner.restoring,
            versions=self.versions(),
            loop_delay_s=self.heartbeat.delay_s,
            ready=not self._reasons(),
            broker_age_s=self.broker.age_s,
            outages=self.broker.outages,
            throttled_s=self._throttling.total_s,
            refused_swaps=self._serving.refused_swaps if isinstance(self._serving, Swaps) else 0,
        )

    def lag(self) -> dict[TP, int]:
        """Return how many records each open partition is behind what the broker has, where that is known."""
        owned = [] if self.ownership is None else list(self.ownership.partitions.values())
        cursors = {cursor.tp: cursor.processed for one in owned for cursor in one.cursors}
        ends = {tp: self._end_of(tp) for tp in cursors}
        return {tp: max(0, end - cursors[tp]) for tp, end in ends.items() if end is not None}

    def figures_line(self) -> tuple[str, dict[str, float]]:
        """Return a line for the log, and its numbers; rates are since the last call."""
        look, before = self.look(), self._told
        self._told = look
        seconds = max(1e-3, look.at_s - before.at_s)
        numbers: dict[str, float] = {
            "partitions": len(look.partitions),
            "actions": look.counters.actions,
            "actions_per_s": round((look.counters.actions - before.counters.actions) / seconds, 1),
            "requests": look.counters.requests,
            "requests_per_s": round((look.counters.requests - before.counters.requests) / seconds, 1),
            "dead_letters": sum(look.counters.rejected.values()),
            "lag_records": sum(look.lag.values()),
            "pending_requests": look.pending,
            "checkpoint_age_s": look.figures.checkpoint_age_s,
            "resident_mb": round((look.figures.resident_bytes or 0) / 1e6),
        }
        return ", ".join(f"{name} {number:g}" for name, number in numbers.items()), numbers

    def readiness(self) -> Readiness:
        """Return whether the worker can do its work, and why not."""
        owner, reasons = self.ownership, self._reasons()
        return Readiness(
            ready=not reasons,
            reasons=reasons,
            group=self._settings.app_id,
            instance=self._settings.group_instance_id,
            partitions=[] if owner is None else sorted(owner.partitions),
            opening=[] if owner is None else list(owner.opening),
            restoring=[] if owner is None else restoring_of(owner.restoring),
            versions=self.versions(),
            broker_age_s=round(self.broker.age_s, 3),
        )

    def _reasons(self) -> list[str]:
        owner = self.ownership
        return why_not_ready(
            has_joined=self.has_joined,
            leaving=self.is_leaving,
            opening=() if owner is None else owner.opening,
            restoring=() if owner is None else restoring_of(owner.restoring),
            abandoned=owner is not None and owner.abandoned,
            broker_age_s=self.broker.age_s,
            session_timeout_s=self._settings.session_timeout_s,
            down=self.broker.down,
            registry_away=self.registry_away(),
        )

    def versions(self) -> Mapping[str, ServedVersion]:
        """Return which versions serve, by kind; none where the serving state does not say."""
        return self._serving.versions() if isinstance(self._serving, HasVersions) else {}
