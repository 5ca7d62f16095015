import numpy as np
import pytest

from rankstream.evaluation.replay.candidates import Catalogue, as_shown, sampled, whole
from rankstream.evaluation.replay.protocols import Exposure, Query
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import id_key
from rankstream.features.user_state import UserState


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    root = tmp_path_factory.mktemp("items")
    publish(root, [*range(1, 40), "forty"], np.ones((40, 2)), space="s", as_of_ms=0)
    return Catalogue([EmbeddingTable.open(root)])


def a_query(target, candidates=None, actions=(1,), seen=frozenset()):
    exposure = Exposure(0, b"u", "u", target, id_key(target), 10**12, 1)
    return Query(exposure, [UserState()], seen=seen, candidates=candidates, actions=actions, target=target)


def test_the_whole_catalogue_is_ranked_and_the_target_is_marked(catalogue):
    found = whole(catalogue, exclude_seen=False)(a_query("forty"))
    assert (len(found.ids), found.target_known) == (40, True)
    assert [item for item, actions in zip(found.ids, found.actions, strict=True) if actions] == ["forty"]


def test_a_target_that_no_bundle_knows_stands_last_and_is_marked(catalogue):
    found = whole(catalogue, exclude_seen=False)(a_query(999))
    assert (found.ids[-1], len(found.ids), found.target_known) == (999, 41, False)


def test_what_the_user_has_seen_can_be_left_out_but_not_the_target(catalogue):
    ids = whole(catalogue, exclude_seen=True)(a_query(4, seen=frozenset({3, 4}))).ids
    assert 3 not in ids
    assert 4 in ids


def test_a_sample_holds_the_target_once_and_its_ranks_are_those_among_all(catalogue):
    select = sampled(catalogue, 10, seed=1)
    for target in range(1, 40):
        found = select(a_query(target))
        assert list(found.ids).count(target) == 1
        assert sum(found.actions) == 1
        assert found.ranks_among_all(np.array([1, len(found.ids)])).tolist() == [1, 40]


def test_estimated_ranks_are_right_on_average(catalogue):
    select, scores = sampled(catalogue, 10, seed=2), {item: -number for number, item in enumerate(catalogue.ids)}
    estimates = []
    for _ in range(600):
        found = select(a_query(20))
        rank = 1 + sum(scores[item] > scores[20] for item in found.ids)
        estimates.append(int(found.ranks_among_all(np.array([rank]))[0]))
    truth = 1 + sum(score > scores[20] for score in scores.values())
    assert np.mean(estimates) == pytest.approx(truth, rel=0.1)


def test_what_was_shown_is_shuffled_with_the_actions_on_it():
    query = a_query(7, candidates=list(range(1, 21)), actions=list(range(1, 21)))
    found = as_shown(seed=1)(query)
    assert list(found.ids) != list(range(1, 21))
    assert sorted(found.ids) == list(range(1, 21))
    assert list(found.ids) == list(found.actions) == found.keys.tolist()
    assert found.ranks_among_all(np.array([2])).tolist() == [2]
