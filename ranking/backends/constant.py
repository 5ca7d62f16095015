"""The null ranker: the same probabilities for every candidate, so their order stays as it came."""

from dataclasses import dataclass

import numpy as np

from rankstream.features.schema import Floats, ModelInputs


@dataclass(frozen=True)
class ConstantBackend:
    """The baseline that every metric is printed beside, and the backend of a worker that only keeps state."""

    probabilities: tuple[float, ...]  # one a head

    def score(self, inputs: ModelInputs) -> Floats:
        """Return ``(N, heads)``, all rows equal."""
        return np.tile(np.array(self.probabilities, np.float32), (inputs.num_candidates, 1))
