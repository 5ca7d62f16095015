"""Outcomes: the metrics of each ranked query, a row a query, a column a metric; all that is kept of a replay.

A row needs some hundred bytes, so memory grows with the queries that are ranked, not with the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rankstream.features.ids import Id
from rankstream.features.schema import Floats as Vectors
from rankstream.metrics.arrays import Bools, Floats, Ints
from rankstream.metrics.probabilities import auc
from rankstream.metrics.ranking import capped_recall, hit, ndcg, random_hit, random_ndcg, recall, reciprocal_rank

ALL = "any positive"  # the head that stands for all positive actions


@dataclass(frozen=True)
class RankedQuery:
    """What all variants of a query share: who, when, and which candidates were relevant."""

    user: str
    at_ms: int
    num_actions: int  # in the user's history, in the variant without delay
    is_new: bool
    num_candidates: int
    # head -> rows of the candidates that are its positives; empty where the wanted item is none of them: a miss
    relevant: Mapping[str, Ints]
    target_known: bool = True  # is the target an item of the catalogue?
    query: str = ""  # its name, the same in every replay of the log by the same protocol
    user_id: Id = ""  # as the log has it
    targets: tuple[Id, ...] = ()  # the relevant items of all positives; those that are no candidates come last
    is_new_item: bool = False  # was the target first seen in the part that is ranked?
    is_trained_item: bool = True  # of a funnel: was any of the bundles trained on it?

    @property
    def rows(self) -> Ints:
        """Return the rows of the candidates that are relevant to any head."""
        return np.unique(np.concatenate([*self.relevant.values(), np.zeros(0, np.int64)]))


@dataclass
class Predictions:
    """Probabilities and labels of one head over all candidates of all queries."""

    probabilities: list[Floats] = field(default_factory=list)
    labels: list[Bools] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # candidates of each query

    def columns(self) -> tuple[Floats, Bools, Ints]:
        """Return all probabilities, labels, and the row of the query that each belongs to."""
        if not self.labels:
            return np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.int64)
        queries = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return np.concatenate(self.probabilities), np.concatenate(self.labels), queries


@dataclass
class VariantOutcomes:
    """One variant's rows, in the order of the queries."""

    metrics: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # (head, metric); NaN: nothing relevant
    predictions: dict[str, Predictions] = field(default_factory=dict)  # only where what was shown is known
    top_items: set[int] = field(default_factory=set)  # keys that were among the first k of any query
    ranks: list[Floats | Ints] = field(default_factory=list)  # of each query's targets; none of a random order
    newest_age_ms: list[float] = field(default_factory=list)
    user_vectors_found: int = 0
    unknown_items: int = 0

    def put(self, head: str, metric: str, value: float) -> None:
        """Add one metric of the newest query."""
        self.metrics.setdefault((head, metric), []).append(value)

    def column(self, head: str, metric: str) -> Floats:
        """Return a metric of all queries; NaN where the query had no positive of the head."""
        return np.asarray(self.metrics.get((head, metric), ()), np.float64)


@dataclass
class Outcomes:
    """All queries, and how each variant ranked them."""

    ks: tuple[int, ...]
    heads: tuple[str, ...]  # ALL and the heads whose actions the log knows
    queries: list[RankedQuery] = field(default_factory=list)
    variants: dict[str, VariantOutcomes] = field(default_factory=dict)
    baselines: dict[str, str] = field(default_factory=dict)  # those of the variants that need no training: what each is
    credits: list[tuple[int, int]] = field(default_factory=list)  # of two variants whose feeds were interleaved

    def variant(self, name: str) -> VariantOutcomes:
        """Return a variant's rows."""
        return self.variants.setdefault(name, VariantOutcomes())


def score_ranking(
    variant: VariantOutcomes, heads: Sequence[str], ks: Sequence[int], query: RankedQuery, ranks: Floats | Ints
) -> None:
    """Add the ranking metrics of each head; ``ranks`` is (N,), of the candidates, from 1; infinite for not ranked."""
    nothing = np.zeros(0, np.int64)
    variant.ranks.append(ranks[query.relevant.get(ALL, nothing)])
    for head in heads:
        known, relevant = head in query.relevant, ranks[query.relevant.get(head, nothing)]
        for k in ks:
            variant.put(head, f"hit@{k}", hit(relevant, k) if known else np.nan)
            variant.put(head, f"recall@{k}", recall(relevant, k) if known else np.nan)
            variant.put(head, f"capped_recall@{k}", capped_recall(relevant, k) if known else np.nan)
            variant.put(head, f"ndcg@{k}", ndcg(relevant, k) if known else np.nan)
        variant.put(head, "mrr", reciprocal_rank(relevant) if known else np.nan)


def score_random(variant: VariantOutcomes, heads: Sequence[str], ks: Sequence[int], query: RankedQuery) -> None:
    """Add the metrics that a random order is expected to reach."""
    for head in heads:
        known, relevant = head in query.relevant, len(query.relevant.get(head, ()))
        for k in ks:
            variant.put(head, f"hit@{k}", random_hit(relevant, query.num_candidates, k) if known else np.nan)
            variant.put(head, f"ndcg@{k}", random_ndcg(relevant, query.num_candidates, k) if known else np.nan)


def score_probabilities(variant: VariantOutcomes, head: str, query: RankedQuery, probabilities: Floats) -> None:
    """Keep a head's probabilities (N,) with their labels, and add the AUC within the query."""
    labels = np.zeros(query.num_candidates, np.bool_)
    labels[query.relevant.get(head, np.zeros(0, np.int64))] = True
    predictions = variant.predictions.setdefault(head, Predictions())
    predictions.probabilities.append(probabilities)
    predictions.labels.append(labels)
    predictions.sizes.append(len(labels))
    variant.put(head, "auc per request", auc(probabilities, labels))


def diversity(vectors: Vectors) -> float:
    """Return the mean cosine distance (0 to 2) of the pairs of ``(k, d)`` item vectors; NaN of fewer than two."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = vectors[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    if len(known) < 2:
        return float("nan")
    similarity = known @ known.T
    pairs = len(known) * (len(known) - 1)
    return float(1.0 - (similarity.sum() - np.trace(similarity)) / pairs)
