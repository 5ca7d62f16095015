"""What a scoring backend promises, and what an opened part of a bundle is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rankstream.bundles.golden import Arrays, Golden, largest_difference
from rankstream.bundles.manifest import Manifest
from rankstream.bundles.parts import Part
from rankstream.features.schema import Floats, ModelInputs

TOLERANCE = 1e-4  # of golden outputs: float32 on another processor differs by 1e-6, a wrong graph by far more


class Backend(Protocol):
    """Scores each candidate for each head; safe to call from one thread at a time."""

    def score(self, inputs: ModelInputs) -> Floats:
        """Return probabilities ``(N, heads)`` float32; no row depends on the other candidates."""
        ...


@dataclass(frozen=True)
class OpenedPart:
    """A part of a bundle as serving runs it, and how its golden cases are run."""

    serves: Any  # what the part's kind promises: a ``Backend``, a ``SessionEncoder``, a ``VectorTable``, ...
    # kind of golden case -> what computes the outputs of one; empty for a part without a graph
    runs: Mapping[str, Callable[[Arrays], Arrays]]
    tolerance: float = TOLERANCE  # of the outputs of these
    scorer: str | None = None  # of the ranker: what runs its graphs (``scorers.py``)


def worst_difference(part: OpenedPart, golden: Golden) -> float:
    """Run a part's golden cases; return the largest difference of an output, NaN if there is one."""
    differences = (largest_difference(run(case), case) for kind, run in part.runs.items() for case in golden[kind])
    return float(np.max([*differences], initial=0.0))


class Opener(Protocol):
    """Opens one kind of part. Whatever it raises refuses the bundle."""

    def __call__(self, folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
        """Open ``part`` of the bundle in ``folder``, its graphs with these providers of ONNX Runtime."""
        ...
