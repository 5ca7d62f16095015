"""A ranker of shown lists that must also order what a catalogue holds, in a world in which the right order is known."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.schema import FeatureSizes
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.ranker.joined import JoinedRequest, JoinedRequests
from rankstream.models.ranker.training import RankerTraining, served_auc, train_ranker
from rankstream.models.training.loop import FitConfig
from tests.builders.ranker import NoItems, a_config, some_inputs

SIZES = FeatureSizes(num_actions=1, item_dim=1, user_dim=1, session_dim=1, item_features=2)
SHOWN, LIKED = 0, 1  # features: whoever makes the lists shows nothing else; what is liked is clicked more often
CLICKED, OTHERS = 0.6, 0.2  # how often an item of a list is, if it is liked and if not
OF_SHOWN_KIND, DRAWN, CATALOGUE = 0.1, 20, 1_000  # share of the catalogue; items drawn of it, evenly


def a_request(rng: np.random.Generator, drawn: int) -> JoinedRequest:
    """A list of five, and so many items of the catalogue beside it."""
    features = np.zeros((5 + drawn, SIZES.candidate_features), np.float32)
    features[:, LIKED] = rng.random(5 + drawn) < 0.5
    features[:, SHOWN] = np.append(np.ones(5), rng.random(drawn) < OF_SHOWN_KIND)
    clicked = rng.random(5 + drawn) < np.where(features[:, LIKED] > 0, CLICKED, OTHERS)
    clicked[5:] = False
    inputs = replace(
        some_inputs(actions=0, candidates=5 + drawn, sizes=SIZES),
        candidate_items=np.zeros((0, 1), np.float32),
        candidate_features=features,
    )
    keys = np.arange(5 + drawn, dtype=np.uint64)
    log_q = np.append(np.zeros(5), np.full(drawn, np.log(DRAWN / CATALOGUE))).astype(np.float32)
    weights = np.append(np.ones(5), np.zeros(drawn)).astype(np.float32)
    return JoinedRequest(1, inputs, keys[:0], keys, clicked[:, None].astype(np.float32), log_q, weights=weights)


def learned(drawn: int) -> HybridRanker:
    """A ranker of 500 lists, each beside so many drawn items."""
    rng = np.random.default_rng(0)
    requests = JoinedRequests(NoItems(), [a_request(rng, drawn) for _ in range(500)])
    fit = FitConfig(steps=150, learning_rate=2e-2, warm_up=10, evaluate_every=150)
    training = RankerTraining(requests=32, mask=False, softmax=1.0, fit=fit)
    config = replace(a_config(SIZES, mlp=(8,)), heads=("click",))
    return train_ranker(config, training, requests, JoinedRequests(NoItems(), []))[0]


def probabilities(ranker: HybridRanker) -> dict[tuple[int, int], float]:
    """The served probability of each kind of item, (shown kind, liked)."""
    kinds = [(shown, liked) for shown in (0, 1) for liked in (0, 1)]
    features = np.zeros((4, SIZES.candidate_features), np.float32)
    features[:, :2] = kinds
    whole = replace(some_inputs(actions=0, candidates=4, sizes=SIZES), candidate_features=features)
    asked = replace(whole, candidate_items=np.zeros((4, 1), np.float32))
    return dict(zip(kinds, ranker.probabilities(asked)[:, 0].tolist(), strict=True))


@pytest.fixture(scope="module")
def among_drawn():
    return learned(DRAWN)


@pytest.fixture(scope="module")
def of_lists_alone():
    return learned(0)


def test_what_is_taken_stands_above_what_was_never_shown_and_lists_keep_their_probabilities(among_drawn):
    found = probabilities(among_drawn)
    assert found[1, 1] == pytest.approx(CLICKED, abs=0.1)
    assert found[1, 0] == pytest.approx(OTHERS, abs=0.1)
    assert max(found[0, 0], found[0, 1]) < found[1, 0] / 5  # the right order: all that is shown above what never is


def test_of_shown_lists_alone_a_ranker_does_not_know_what_was_never_shown(of_lists_alone):
    found = probabilities(of_lists_alone)
    assert found[1, 1] == pytest.approx(CLICKED, abs=0.1)
    assert found[0, 1] > found[1, 0]  # the fault: liked as of the lists, though nobody was ever shown it


def test_lists_among_drawn_items_are_judged_by_the_share_of_the_catalogue_below_what_was_taken(
    among_drawn, of_lists_alone
):
    lists = JoinedRequests(NoItems(), [a_request(np.random.default_rng(3), DRAWN) for _ in range(40)])
    right, ignorant = (served_auc(ranker, lists, [1.0]) for ranker in (among_drawn, of_lists_alone))
    assert right > 0.93 > 0.75 > ignorant  # a tenth of the catalogue is of the shown kind
