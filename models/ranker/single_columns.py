"""What one column alone would order held-out requests by, beside the ranker that sees them all.

An NDCG by itself says little: how hard a log is stands in it, too. Held against the popularity and the neighbours that
the ranker is given, it says whether the network makes more of them than twenty lines would.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from rankstream.features.matches.columns import MATCH_NAMES
from rankstream.features.schema import POPULARITY_COLUMN, FeatureSizes, Floats, ModelInputs
from rankstream.models.items.item_features import RECENT_DAYS
from rankstream.models.ranker.joined import JoinedRequests
from rankstream.models.ranker.training import ndcg_of, ranks_by

MATCHES = {  # a name that people know -> the column
    "next after the last item": "next_count",
    "item-kNN": "knn",
    "VMIS-kNN": "vmis",
    "own history": "history_place",
}


def single_columns(sizes: FeatureSizes) -> Mapping[str, int]:
    """Return the columns of ``candidate_features`` that order items by themselves, by name."""
    popular = ("popularity", *(f"popularity of {days} d" for days in RECENT_DAYS))
    columns = {name: POPULARITY_COLUMN + at for at, name in enumerate(popular[: sizes.item_features])}
    if sizes.match_features:
        columns |= {name: sizes.item_features + MATCH_NAMES.index(column) for name, column in MATCHES.items()}
    return columns


def ndcg_by_column(requests: JoinedRequests, sizes: FeatureSizes, weights: Sequence[float]) -> dict[str, float]:
    """Return NDCG@10 of the orders by each column alone, as ``training.served_ndcg`` has it of the ranker's."""
    return {
        name: ndcg_of(ranks_by(partial(_column, column=column), requests, weights))
        for name, column in single_columns(sizes).items()
    }


def _column(inputs: ModelInputs, column: int) -> Floats:
    scores: Floats = inputs.candidate_features[:, column]
    return scores
