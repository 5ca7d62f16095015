"""The ranker's validation beside that of one column alone."""

import io
from dataclasses import replace
from math import log2

import numpy as np
import pytest
from rich.console import Console

from rankstream.features.matches.columns import MATCH_NAMES, match_width
from rankstream.features.schema import POPULARITY_COLUMN, FeatureSizes
from rankstream.models.ranker.joined import JoinedRequest, JoinedRequests
from rankstream.models.ranker.single_columns import ndcg_by_column
from rankstream.models.recipes.on_top import held_against
from tests.builders.ranker import NoItems, some_inputs

SIZES = FeatureSizes(
    num_actions=1, item_dim=1, user_dim=1, session_dim=1, item_features=4, match_features=match_width(1)
)


def a_request() -> JoinedRequest:
    """One item is wanted; of two others one stands for itself, and one for four."""
    features = np.zeros((3, SIZES.candidate_features), np.float32)
    features[:, POPULARITY_COLUMN] = 0.5, 0.1, 0.9
    features[:, POPULARITY_COLUMN + 1] = 0.5, 0.9, 0.1  # of the last day
    features[:, POPULARITY_COLUMN + 2] = 0.9, 0.5, 0.1  # of the last week
    features[:, SIZES.item_features + MATCH_NAMES.index("knn")] = 0.2, 0.3, 0.1
    features[:, SIZES.item_features + MATCH_NAMES.index("vmis")] = 1.0, 0.0, 0.0
    inputs = replace(some_inputs(actions=0, candidates=3, sizes=SIZES), candidate_features=features)
    labels, log_q = np.array([[1], [0], [0]], np.float32), np.log(np.array([1, 1, 0.25], np.float32))
    keys = np.arange(3, dtype=np.uint64)
    return JoinedRequest(1, inputs, keys[:0], keys, labels, log_q)


def test_each_column_is_judged_as_an_order_of_its_own():
    assert ndcg_by_column(JoinedRequests(NoItems(), [a_request()]), SIZES, [1.0]) == pytest.approx(
        {
            "popularity": 1 / log2(1 + 1 + 4),
            "popularity of 1 d": 1 / log2(1 + 1 + 1),
            "popularity of 7 d": 1.0,
            "next after the last item": 1 / log2(1 + 1 + 2.5),  # nothing followed any of them: all are equal
            "item-kNN": 1 / log2(1 + 1 + 1),
            "VMIS-kNN": 1.0,
            "own history": 1 / log2(1 + 1 + 2.5),
        }
    )


def test_a_ranker_without_tables_has_no_columns_to_be_held_against():
    assert ndcg_by_column(JoinedRequests(NoItems(), []), replace(SIZES, item_features=0, match_features=0), [1.0]) == {}


@pytest.mark.parametrize(("ranker", "warned"), [(0.2, False), (0.1, True)])
def test_a_ranker_that_is_behind_a_column_is_warned_of(ranker, warned):
    console = Console(file=io.StringIO(), width=80)
    held_against(console, ranker, {"popularity": 0.05, "item-kNN": 0.15}, requests=300)
    told = console.file.getvalue()
    assert f"NDCG@10 {ranker:.4f} on 300 held-out requests; by one column alone: item-kNN 0.1500, popularity" in told
    assert ("warning: item-kNN alone orders the held-out requests better than the ranker" in told) is warned
