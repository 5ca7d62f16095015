"""Ranks searched in a large catalogue: exact near the top, unbiased below, the scores those that a worker gives."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.evaluation.replay.rank_search import FIRST_BLOCK, Scorer, Search
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.ids import id_keys
from rankstream.features.user_state import UserState
from rankstream.metrics.ranking import hit, ndcg
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import ranker_of
from tests.builders.bundle import SIZES, VOCABULARY, a_bundle
from tests.builders.replay import arrivals_of_rows

COUNT = 5_000


def searched(scores, target, enough=20, seed=0):
    """Return the rank found and how many scores that took."""
    asked = []

    def scores_of(rows):
        asked.extend(rows.tolist())
        return scores[rows]

    return Search(enough, np.random.default_rng(seed)).rank(scores_of, len(scores), target), len(asked)


@pytest.mark.parametrize("rank", [1, 2, 10, 20, 21])
def test_a_rank_near_the_top_is_exact(rank):
    scores = -np.arange(COUNT, dtype=float)
    assert searched(scores, target=rank - 1) == (rank, COUNT)


@pytest.mark.parametrize("rank", [22, 100, 1000, COUNT])
def test_below_it_the_inverse_rank_is_unbiased_and_no_estimate_reaches_the_first_k(rank):
    scores = -np.arange(COUNT, dtype=float)
    found = np.array([searched(scores, rank - 1, seed=seed)[0] for seed in range(600)])
    assert found.min() > 21
    error = (1 / found).std() / np.sqrt(len(found))
    assert (1 / found).mean() == pytest.approx(1 / rank, abs=3.5 * error + 1e-12)


def test_most_ranks_take_few_scores():
    taken = [searched(-np.arange(COUNT, dtype=float), target, seed=target)[1] for target in range(0, COUNT, 100)]
    assert np.median(taken) <= FIRST_BLOCK + 1


def test_metrics_at_k_are_those_of_the_whole_catalogue_for_every_k():
    rng = np.random.default_rng(0)
    for seed in range(150):
        scores = rng.normal(size=3000)
        target = int(np.argsort(-scores)[int(3000 * rng.random() ** 6)])
        truth = 1 + np.count_nonzero(scores > scores[target])
        rank, _ = searched(scores, target, seed=seed)
        for k in (1, 3, 10, 20):
            assert hit(np.array([rank]), k) == hit(np.array([truth]), k)
            assert ndcg(np.array([rank]), k) == ndcg(np.array([truth]), k)


def test_the_mean_over_queries_is_that_of_the_whole_catalogue_within_its_error():
    rng = np.random.default_rng(1)
    scores, targets = rng.normal(size=2000), rng.integers(0, 2000, 1500)
    truth = np.array([1 / (1 + np.count_nonzero(scores > scores[target])) for target in targets])
    found = np.array([1 / searched(scores, target, seed=seed)[0] for seed, target in enumerate(targets.tolist())])
    assert found.mean() == pytest.approx(truth.mean(), abs=3.5 * (found - truth).std() / np.sqrt(len(truth)))


@pytest.mark.parametrize("target", [0, 7, 500, COUNT - 1])
def test_equal_scores_rank_in_the_order_of_candidates(target):
    rank, _ = searched(np.zeros(COUNT), target)
    assert (rank == target + 1) if target <= 20 else rank > 21


@pytest.mark.parametrize("surface", [0, 2])
def test_scores_are_to_the_bit_those_that_a_worker_gives(tmp_path, surface):
    ranker = ranker_of(open_bundle(a_bundle(tmp_path, sizes=replace(SIZES, surfaces=2))), NoVectors(SIZES.user_dim))
    rows = arrivals_of_rows([("u", item, "view", 1_700_000_000_000 + item) for item in range(1, 40)])
    state = UserState().apply(rows.packed, 39).state
    at_ms, items = 1_700_000_100_000, list(range(1, 150))
    scorer = Scorer(ranker, "u", at_ms, state, surface)
    name = (None, *VOCABULARY.surfaces)[surface]
    served = ranker.rank(RankingRequest("r", "u", tuple(items), surface=name), state, at_ms)
    scores = {item.item_id: item.score for item in served.items}
    for block in (items, items[:5], items[70:71]):
        assert scorer.scores(id_keys(block)).tolist() == [scores[item] for item in block]
    assert int(scorer.action_ages_ms[0]) == served.newest_action_age_ms
    assert len(scorer.action_ages_ms) == served.actions_used
