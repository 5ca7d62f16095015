"""Where an item stood in its list: known to training, and not taken for taste."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rankstream.features.schema import FeatureSizes
from rankstream.models.ranker.hybrid import HybridRanker, collate
from rankstream.models.ranker.joined import JoinedRequest, JoinedRequests
from rankstream.models.ranker.places import ALONE, GROUPS, QUICKER, PlacedRanker, places_of
from rankstream.models.ranker.training import RankerTraining, train_ranker
from rankstream.models.training.loop import FitConfig
from tests.builders.ranker import NoItems, a_config, some_inputs

SIZES = FeatureSizes(num_actions=1, item_dim=1, user_dim=1, session_dim=1, item_features=2)
LOOKED_AT = np.array([1.0, 0.7, 0.45, 0.3, 0.2, 0.15])  # how often, by place
LIKED, PROMOTED = 0, 1  # features
CLICKED, OTHERS = 0.5, 0.2  # how often what is looked at is clicked, if it is liked and if not


def a_list(rng: np.random.Generator, told: bool, first: int = PROMOTED) -> JoinedRequest:
    """A list of six: two are liked; two, whichever, are promoted; those of one of these nearly always stand first."""
    features = np.zeros((6, 2), np.float32)
    features[rng.choice(6, 2, replace=False), LIKED] = 1
    features[rng.choice(6, 2, replace=False), PROMOTED] = 1
    places = np.argsort(np.argsort(rng.random(6) - 0.9 * features[:, first])) + 1
    clicked = rng.random(6) < LOOKED_AT[places - 1] * np.where(features[:, LIKED] > 0, CLICKED, OTHERS)
    seen = np.zeros((6, SIZES.candidate_features), np.float32)
    seen[:, :2] = features
    inputs = replace(
        some_inputs(actions=0, candidates=6, sizes=SIZES),
        candidate_items=np.zeros((0, 1), np.float32),
        candidate_features=seen,
    )
    keys = np.arange(6, dtype=np.uint64)
    return JoinedRequest(1, inputs, keys[:0], keys, clicked[:, None].astype(np.float32), None, places if told else None)


def learned(told: bool, first: int = PROMOTED) -> dict[tuple[int, int], float]:
    """The served probability of each kind of item, (liked, promoted), by a ranker of 3,000 lists."""
    rng = np.random.default_rng(0)
    requests = JoinedRequests(NoItems(), [a_list(rng, told, first) for _ in range(3_000)])
    config = replace(a_config(SIZES, mlp=(8,)), heads=("click",))
    fit = FitConfig(steps=500, learning_rate=1e-2, warm_up=10, evaluate_every=500)
    nobody = JoinedRequests(NoItems(), [])
    ranker, _ = train_ranker(config, RankerTraining(requests=64, mask=False, fit=fit), requests, nobody)
    found = {}
    for liked in (0, 1):
        for promoted in (0, 1):
            one = requests.inputs(0)  # the same user vector and context for all
            one.candidate_features[:, :2] = (liked, promoted)
            found[liked, promoted] = float(ranker.probabilities(one)[0, 0])
    return found


def odds(probability: float) -> float:
    return probability / (1 - probability)


def test_what_was_put_first_is_liked_little_better_than_others_where_places_are_told():
    told, not_told = learned(told=True), learned(told=False)
    for liked in (0, 1):
        assert odds(not_told[liked, 1]) > 3 * odds(not_told[liked, 0])  # the fault: promoted, so better liked
        assert 0.8 < odds(told[liked, 1]) / odds(told[liked, 0]) < 1.8
    for one in (told, not_told):
        assert odds(one[1, 0]) > 2 * odds(one[0, 0])  # what is liked is


def test_what_is_liked_stays_so_where_it_was_put_first():
    told = learned(told=True, first=LIKED)
    for promoted in (0, 1):
        assert 2 < odds(told[1, promoted]) / odds(told[0, promoted]) < 5  # 3 to 4: looked at, 1 against 0.25


@pytest.mark.parametrize(("first", "positions"), [(0, [0, 4, -1, 11]), (1, [1, 5, -1, 12])])
def test_places_count_from_one_however_the_log_does(first, positions):
    assert places_of(np.array(positions), first).tolist() == [1, 5, 0, 12]


def test_a_bias_is_of_its_places_alone_and_an_unknown_place_has_none():
    torch.manual_seed(0)
    placed = PlacedRanker(HybridRanker(a_config()).eval())
    with torch.no_grad():
        placed.biases.copy_(torch.arange(1.0, GROUPS + 1)[:, None].expand(-1, 2))
    places = np.array([0, 1, ALONE, ALONE + 1, 20, 21, 40, 41, 10**6])
    inputs = some_inputs(candidates=len(places))
    batch = collate([inputs], places=[places])
    groups = (placed(batch) - placed.ranker(batch))[:, 0].tolist()
    assert groups == pytest.approx([QUICKER * group for group in (0, 1, 10, 11, 11, 12, 12, 13, 16)], abs=1e-4)


def test_lists_without_places_train_as_before():
    requests = JoinedRequests(NoItems(), [a_list(np.random.default_rng(1), told=False) for _ in range(40)])
    assert not requests.have_places
    assert requests.batch(np.array([0, 1])).places.tolist() == [0] * 12
