"""What a scoring backend promises."""

from typing import Protocol

from rankstream.features.schema import Floats, ModelInputs


class Backend(Protocol):
    """Scores each candidate for each head; safe to call from one thread at a time."""

    def score(self, inputs: ModelInputs) -> Floats:
        """Return probabilities ``(N, heads)`` float32; no row depends on the other candidates."""
        ...
