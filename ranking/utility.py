"""From the probabilities of many actions to one score: the utility of each action, times how likely it is.

The weights are a product decision, not the model's: that a save counts as three clicks, and that hiding costs more
than either brings. They stand in the bundle's manifest and can be changed without training.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rankstream.features.schema import Floats

Scores = npt.NDArray[np.float64]


def head_weights(heads: Sequence[str], utility: Mapping[str, float]) -> tuple[float, ...]:
    """Return the weight of each head. Raises ``ValueError`` unless the two name the same heads, weights finite."""
    if set(heads) != set(utility) or not np.isfinite(list(utility.values())).all():
        raise ValueError(f"weights {dict(utility)} given; wanted a finite one for each of {', '.join(heads)}")
    return tuple(float(utility[head]) for head in heads)


def utility(probabilities: Floats, weights: Sequence[float]) -> Scores:
    """Return ``(N,)`` sums of weight x probability, added head by head: no row depends on another, to the bit."""
    if probabilities.ndim != 2 or probabilities.shape[1] != len(weights):
        raise ValueError(
            f"probabilities {probabilities.shape} with {len(weights)} weights; wanted one column per weight"
        )
    scores = np.zeros(len(probabilities))
    for column, weight in zip(probabilities.T, weights, strict=True):
        scores += weight * column.astype(np.float64)
    return scores
