import numpy as np
import pytest

from rankstream.evaluation.replay.candidates import Catalogue, as_shown, sampled, whole
from rankstream.evaluation.replay.exposures import Exposure
from rankstream.evaluation.replay.protocols import Query
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import id_key
from rankstream.features.user_state import UserState


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    root = tmp_path_factory.mktemp("items")
    publish(root, [*range(1, 40), "forty"], np.ones((40, 2)), space="s", as_of_ms=0)
    return Catalogue([EmbeddingTable.open(root)])


def a_query(target, candidates=None, actions=(1,), seen=frozenset(), at_ms=10**12):
    exposure = Exposure(0, b"u", "u", target, id_key(target), at_ms, 1)
    return Query(exposure, [UserState()], seen=seen, candidates=candidates, actions=actions, target=target)


def test_the_whole_catalogue_is_ranked_and_the_target_is_marked(catalogue):
    found = whole(catalogue, exclude_seen=False)(a_query("forty"))
    assert (len(found.ids), found.target_known) == (40, True)
    assert [item for item, actions in zip(found.ids, found.actions, strict=True) if actions] == ["forty"]
    assert found.ids[found.target] == "forty"


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_target_that_no_bundle_knows_is_no_candidate_so_nobody_can_pick_it_out(catalogue, exclude_seen):
    for select in (whole(catalogue, exclude_seen=exclude_seen), sampled(catalogue, 10, 1, exclude_seen=exclude_seen)):
        found = select(a_query(999))
        assert 999 not in found.ids
        assert not found.actions.any()
        assert (found.target, found.target_known) == (None, False)


def test_what_the_user_has_seen_can_be_left_out(catalogue):
    ids = whole(catalogue, exclude_seen=True)(a_query(5, seen=frozenset({3, 4}))).ids
    assert not {3, 4} & set(ids)
    assert 5 in ids


def test_a_target_among_items_that_were_left_out_would_be_the_only_seen_one_so_it_is_a_miss(catalogue):
    found = whole(catalogue, exclude_seen=True)(a_query(4, seen=frozenset({3, 4})))
    assert 4 not in found.ids
    assert not found.target_known


def test_a_sample_holds_the_target_once_and_others_at_random(catalogue):
    select = sampled(catalogue, 10, seed=1)
    counts = np.zeros(41)
    for target in range(1, 40):
        found = select(a_query(target))
        assert len(found.ids) == len(set(found.ids)) == 11
        assert sum(found.actions) == 1
        assert found.ids[found.target] == target
        counts[[one for one in range(40) if catalogue.ids[one] in found.ids]] += 1
    assert counts[:40].min() > 0


def test_where_the_target_stands_among_the_candidates_says_nothing(catalogue):
    for select in (whole(catalogue, exclude_seen=False), sampled(catalogue, 10, seed=1)):
        found = [select(a_query(7, at_ms=10**12 + number)) for number in range(400)]
        assert np.mean([one.target / (len(one) - 1) for one in found]) == pytest.approx(0.5, abs=0.05)


def test_what_was_shown_is_shuffled_with_the_actions_on_it():
    query = a_query(7, candidates=list(range(1, 21)), actions=list(range(1, 21)))
    found = as_shown(seed=1)(query)
    assert list(found.ids) != list(range(1, 21))
    assert sorted(found.ids) == list(range(1, 21))
    assert list(found.ids) == list(found.actions) == found.keys.tolist()


def test_candidates_depend_on_their_query_alone_and_not_on_the_order_that_they_are_named_in(catalogue):
    shown = as_shown(seed=1)
    forwards = shown(a_query(7, candidates=[1, 2, 3, 4, 7], actions=[0, 0, 0, 0, 1]))
    backwards = shown(a_query(7, candidates=[7, 4, 3, 2, 1], actions=[1, 0, 0, 0, 0]))
    assert (forwards.ids, forwards.actions.tolist()) == (backwards.ids, backwards.actions.tolist())
    assert whole(catalogue, exclude_seen=False)(a_query(3)).ids == whole(catalogue, exclude_seen=False)(a_query(3)).ids
