"""How many connections the descriptors of this process are enough for, and what those hear that are one too many.

::

    0 ... most          answered
    most ... + SPARE    503 `no-descriptors` with the remedy, and closed; /live, /ready answer as ever
    beyond              closed at once, so that brokers and files always find a descriptor

Without this the process would run out of them at some point: connections would wait unanswered, the probe's among them,
and so would the connection to a broker that came back.
"""

import asyncio
import logging
import resource
from dataclasses import dataclass
from time import monotonic
from typing import Any

KEPT = 256  # for brokers, files of states and tables
SPARE = 32  # connections that are told why
ENOUGH = 1 << 20  # where there is no limit
TOLD_EVERY_S = 60.0
NO_MORE = "socket.accept() out of system resource"  # asyncio's words, once a second, with a traceback

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Descriptors:
    """What this process may have open."""

    limit: int

    @property
    def most(self) -> int:
        """How many connections are answered at once."""
        return max(1, self.limit - min(KEPT, self.limit // 4) - SPARE)

    def why_not(self, connections: int) -> str | None:
        """Return why one more is not answered, and what to do; None where it is."""
        if connections <= self.most:
            return None
        return (
            f"{connections:,} connections are open, and the {self.limit:,} descriptors of this process are enough for "
            f"{self.most:,}: raise them (`ulimit -n`, LimitNOFILE= of systemd), or start more gateways"
        )

    def are_gone(self, connections: int) -> bool:
        """Return whether there is none left to say so."""
        return connections > self.most + SPARE


def raised_limit() -> Descriptors:
    """Take as many descriptors as this process may have without asking anybody: the soft limit becomes the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS allows fewer than it says
            pass
    return Descriptors(ENOUGH if soft == resource.RLIM_INFINITY else min(soft, ENOUGH))


class OneLine:
    """A handler of the event loop's errors that tells once a minute that there are no descriptors."""

    def __init__(self) -> None:
        self._told_at = -TOLD_EVERY_S

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take one error."""
        if context.get("message") != NO_MORE:
            loop.default_exception_handler(context)
        elif monotonic() - self._told_at >= TOLD_EVERY_S:
            self._told_at = monotonic()
            log.error("no connection is taken: %s; raise the limit (`ulimit -n`)", context.get("exception"))
