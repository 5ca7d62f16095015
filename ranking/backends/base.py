"""What a scoring backend promises."""

from typing import Protocol

from rankstream.features.schema import Floats, ModelInputs


class Backend(Protocol):
    """Gives each head's probability for each candidate; safe to call from one thread at a time."""

    def score(self, inputs: ModelInputs) -> Floats:
        """Return probabilities ``(N, heads)`` float32; a candidate's never depend on the other candidates."""
        ...
