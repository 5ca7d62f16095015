"""Outcomes: what came of each ranked point, a row a point, a column a figure; all that is kept of a replay.

A row needs some hundred bytes, so memory grows with the points that are ranked, not with the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rankstream.features.schema import Floats as Vectors
from rankstream.metrics.probabilities import auc
from rankstream.metrics.ranking import hit, ndcg, random_hit, random_ndcg, recall, reciprocal_rank

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ALL = "any positive"  # the head that stands for all actions that the utility wants


@dataclass(frozen=True)
class Seen:
    """What all lanes of a point share: who, when, and what there was to find."""

    user: str
    at_ms: int
    history: int  # actions that the user's history held, in the lane without delay
    is_new: bool
    candidates: int
    wanted: Mapping[str, Ints]  # head -> rows of the candidates that are its positives
    target_known: bool = True  # is the target an item of the catalogue?


@dataclass
class Pairs:
    """Probabilities and labels of one head over all candidates of all points."""

    probabilities: list[Floats] = field(default_factory=list)
    labels: list[Bools] = field(default_factory=list)
    points: list[int] = field(default_factory=list)  # candidates of each point

    def columns(self) -> tuple[Floats, Bools, Ints]:
        """Return all probabilities, labels, and the row of the point that each belongs to."""
        if not self.labels:
            return np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.int64)
        owners = np.repeat(np.arange(len(self.points)), self.points)
        return np.concatenate(self.probabilities), np.concatenate(self.labels), owners


@dataclass
class VariantOutcomes:
    """One lane's rows, in the order of the points."""

    figures: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # (head, figure); NaN: not asked
    pairs: dict[str, Pairs] = field(default_factory=dict)  # only where what was shown is known
    top_items: set[int] = field(default_factory=set)  # keys that stood among the first k of any point
    newest_age_ms: list[float] = field(default_factory=list)
    user_vectors_found: int = 0
    unknown_items: int = 0

    def put(self, head: str, figure: str, value: float) -> None:
        """Add one figure of the newest point."""
        self.figures.setdefault((head, figure), []).append(value)

    def column(self, head: str, figure: str) -> Floats:
        """Return a figure of all points; NaN where the point had nothing of the head."""
        return np.asarray(self.figures.get((head, figure), ()), np.float64)


@dataclass
class Outcomes:
    """All points, and what each lane made of them."""

    ks: tuple[int, ...]
    heads: tuple[str, ...]  # ALL and the heads whose actions the log knows
    seen: list[Seen] = field(default_factory=list)
    variants: dict[str, VariantOutcomes] = field(default_factory=dict)
    credits: list[tuple[int, int]] = field(default_factory=list)  # of two lanes whose feeds were interleaved, a point

    def variant(self, name: str) -> VariantOutcomes:
        """Return a lane's rows."""
        return self.variants.setdefault(name, VariantOutcomes())


def judge(variant: VariantOutcomes, heads: Sequence[str], ks: Sequence[int], seen: Seen, places: Ints) -> None:
    """Put down where the wanted items of each head stood; ``places`` is (N,), from 1."""
    for head in heads:
        rows = seen.wanted.get(head)
        asked = rows is not None and len(rows) > 0
        stood = places[rows] if rows is not None and asked else np.zeros(0, np.int64)
        for k in ks:
            variant.put(head, f"hit@{k}", hit(stood, k) if asked else np.nan)
            variant.put(head, f"recall@{k}", recall(stood, k) if asked else np.nan)
            variant.put(head, f"ndcg@{k}", ndcg(stood, k) if asked else np.nan)
        variant.put(head, "mrr", reciprocal_rank(stood) if asked else np.nan)


def score_random(variant: VariantOutcomes, heads: Sequence[str], ks: Sequence[int], seen: Seen) -> None:
    """Put down what a random order is expected to give."""
    for head in heads:
        wanted = len(seen.wanted.get(head, ()))
        for k in ks:
            variant.put(head, f"hit@{k}", random_hit(wanted, seen.candidates, k) if wanted else np.nan)
            variant.put(head, f"ndcg@{k}", random_ndcg(wanted, seen.candidates, k) if wanted else np.nan)


def judge_probabilities(variant: VariantOutcomes, head: str, seen: Seen, probabilities: Floats) -> None:
    """Keep a head's probabilities (N,) beside what came, and the AUC within the point."""
    labels = np.zeros(seen.candidates, np.bool_)
    labels[seen.wanted.get(head, np.zeros(0, np.int64))] = True
    pairs = variant.pairs.setdefault(head, Pairs())
    pairs.probabilities.append(probabilities)
    pairs.labels.append(labels)
    pairs.points.append(len(labels))
    variant.put(head, "auc in a request", auc(probabilities, labels))


def diversity(vectors: Vectors) -> float:
    """Return the mean cosine distance (0 to 2) of the pairs of ``(k, d)`` item vectors; NaN of fewer than two."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = vectors[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    if len(known) < 2:
        return float("nan")
    alike = known @ known.T
    pairs = len(known) * (len(known) - 1)
    return float(1.0 - (alike.sum() - np.trace(alike)) / pairs)
