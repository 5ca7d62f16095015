"""The line of figures that a gateway writes to its log once a minute, as a worker does."""

from collections.abc import Callable
from time import monotonic

from rankstream.gateway.telemetry import GatewayLook

TELL_FIGURES_S = 60.0
PROBES = ("/live", "/ready")  # whose answers say nothing of those who ask for feeds


class FiguresLine:
    """Makes the lines of one gateway."""

    def __init__(self, look: Callable[[], GatewayLook], clock: Callable[[], float] = monotonic) -> None:
        self._look, self._clock = look, clock
        self._told_s, self._told_calls = clock(), 0

    def next(self) -> tuple[str, dict[str, float]]:
        """Return a line for the log, and its numbers; rates are since the last call."""
        look, now_s = self._look(), self._clock()
        answers = {key: count for key, count in look.counts.answers.items() if key[0] not in PROBES}
        calls = sum(answers.values())
        per_s = (calls - self._told_calls) / max(1e-3, now_s - self._told_s)
        self._told_s, self._told_calls = now_s, calls
        numbers: dict[str, float] = {
            "calls": calls,
            "calls_per_s": round(per_s, 1),
            "failed": sum(count for (_, status), count in answers.items() if status >= "500"),
            "actions": look.counts.actions,
            "in_flight": look.in_flight,
            "streams": look.streams,
        }
        return ", ".join(f"{name} {number:g}" for name, number in numbers.items()), numbers
