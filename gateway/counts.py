"""What a gateway has answered since it began: plain numbers, read by whoever asks."""

from dataclasses import dataclass, field

from rankstream.streams.histogram import MOMENTS_S, Histogram


@dataclass
class GatewayCounts:
    """Counts of one process."""

    answers: dict[tuple[str, str], int] = field(default_factory=dict)  # by route and status
    answer_s: dict[str, Histogram] = field(default_factory=dict)  # by route
    actions: int = 0  # taken
    rejected: int = 0  # actions that were not

    def answered(self, route: str, status: int, took_s: float | None) -> None:
        """Count an answer; None for a stream, which takes as long as the client stays."""
        key = (route, str(status))
        self.answers[key] = self.answers.get(key, 0) + 1
        if took_s is not None:
            self.answer_s.setdefault(route, Histogram(MOMENTS_S)).observe(took_s)
