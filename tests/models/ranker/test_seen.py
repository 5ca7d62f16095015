"""Candidates that the user has seen, where a log without repeats says nothing of such: nothing will come of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rankstream.bundles.ranker import ranks_seen_last
from rankstream.features.actions import Vocabulary
from rankstream.features.matches.columns import MATCH_NAMES, match_width
from rankstream.features.schema import ModelInputs
from rankstream.models.ranker.examples import NegativesConfig, ranking_examples
from rankstream.models.ranker.export import bundle_part, export_ranker
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.ranker.joined import JoinedRequests
from rankstream.models.ranker.training import RankerTraining
from rankstream.models.recipes.bundle import RankerRecipe
from rankstream.models.recipes.on_top import SEEN_LOGIT, train_on_requests
from rankstream.models.recipes.ranker_requests import RankerRequests
from rankstream.models.training.loop import FitConfig
from tests.builders.models import a_log
from tests.builders.ranker import NUM_TYPES, SMALL, a_config, a_ranker, some_inputs
from tests.models.ranker.test_strangers import a_world

SIZES = replace(SMALL, match_features=match_width(NUM_TYPES))
IN_HISTORY = SIZES.item_features + MATCH_NAMES.index("in_history")
SEEN = [False, True, False, True, False]


def five_candidates(actions: int = 7) -> ModelInputs:
    """Inputs of five candidates, of which ``SEEN`` are in the user's history."""
    inputs = some_inputs(actions, candidates=5, sizes=SIZES)
    inputs.candidate_features[:, IN_HISTORY] = np.where(SEEN, np.log1p([1, 1, 1, 9, 1]), 0.0)
    return inputs


def two_rankers() -> tuple[HybridRanker, HybridRanker]:
    """The same weights, as they were trained and as they serve."""
    served = a_ranker(a_config(SIZES, seen_logit=SEEN_LOGIT))
    trained = HybridRanker(a_config(SIZES)).eval()
    trained.load_state_dict(served.state_dict())
    return trained, served


def test_nothing_comes_of_what_was_seen_and_the_others_stay_as_they_were():
    trained, served = two_rankers()
    before, now = trained.probabilities(five_candidates()), served.probabilities(five_candidates())
    assert now[SEEN].max() < 1e-6 < before[SEEN].min()
    torch.testing.assert_close(now[~torch.tensor(SEEN)], before[~torch.tensor(SEEN)], rtol=0, atol=0)


@pytest.mark.parametrize("actions", [0, 7])
def test_both_sides_and_both_graphs_know_it(tmp_path, actions):
    _, served = two_rankers()
    inputs, wanted = five_candidates(actions), served.probabilities(five_candidates(actions)).numpy()
    np.testing.assert_allclose(SplitRanker(served).probabilities(inputs), wanted, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(export_ranker(served, tmp_path).probabilities(inputs), wanted, rtol=1e-4, atol=1e-8)


def test_a_bundle_says_so():
    trained, served = two_rankers()
    vocabulary = Vocabulary(("view", "click", "save", "hide"))
    told = [ranks_seen_last([bundle_part(ranker, vocabulary).part]) for ranker in (trained, served)]
    assert told == [False, True]


def test_a_ranker_without_match_features_can_not_tell():
    config = a_config(SMALL, seen_logit=SEEN_LOGIT)
    assert config.seen_column is None
    assert a_ranker(config).probabilities(some_inputs()).max() > 1e-3


@pytest.mark.parametrize(
    ("exclude_seen", "impressions", "logit"),
    [(True, False, SEEN_LOGIT), (False, False, 0.0), (True, True, 0.0)],
    ids=["no repeats", "repeats", "shown lists"],
)
def test_it_serves_so_where_no_rival_was_seen_and_learns_as_ever(exclude_seen, impressions, logit):
    _, offline = a_world()
    negatives = NegativesConfig(2, exclude_seen=exclude_seen)
    training = RankerTraining(fit=FitConfig(steps=1, warm_up=0))
    heads = {"save": ("save",)}
    recipe = RankerRecipe(heads, {"save": 1.0}, impressions=impressions, negatives=negatives, training=training)
    log = a_log([("u", item, "save", item) for item in range(6)])
    examples = ranking_examples(log, recipe.heads, offline, negatives, np.random.default_rng(0))
    requests = RankerRequests(*(JoinedRequests.of(some, offline) for some in (examples, [], [])))
    config = a_config(offline.sizes, heads=1, layers=1, recent_outputs=1)
    ranker, _ = train_on_requests(requests, replace(config, heads=("save",)), recipe)
    assert ranker.config == replace(config, heads=("save",), seen_logit=logit)
    assert RankerConfig.seen_logit == 0.0
