import numpy as np
import pytest

from rankstream.evaluation.replay.candidates import Catalogue, as_shown, sampled, whole
from rankstream.evaluation.replay.protocols import Draft, Exposure, Point
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import id_key
from rankstream.features.user_state import UserState


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    root = tmp_path_factory.mktemp("items")
    publish(root, [*range(1, 40), "forty"], np.ones((40, 2)), space="s", as_of_ms=0)
    return Catalogue([EmbeddingTable.open(root)])


def a_point(target, candidates=None, done=(1,)):
    exposure = Exposure(0, b"u", "u", target, id_key(target), 10**12, 1)
    return Point(Draft(exposure, [UserState()]), candidates, done, target)


def test_the_whole_catalogue_is_chosen_from_and_the_target_is_marked(catalogue):
    choice = whole(catalogue, exclude_seen=False)(a_point("forty"))
    assert (len(choice.ids), choice.target_known) == (40, True)
    assert [item for item, done in zip(choice.ids, choice.done, strict=True) if done] == ["forty"]


def test_a_target_that_nobody_knows_stands_last_and_is_told(catalogue):
    choice = whole(catalogue, exclude_seen=False)(a_point(999))
    assert (choice.ids[-1], len(choice.ids), choice.target_known) == (999, 41, False)


def test_what_the_user_met_can_be_left_out_but_not_the_target(catalogue):
    point = a_point(4)
    point.draft.met = frozenset({3, 4})
    ids = whole(catalogue, exclude_seen=True)(point).ids
    assert 3 not in ids
    assert 4 in ids


def test_a_sample_holds_the_target_once_and_its_places_are_those_in_all(catalogue):
    choose = sampled(catalogue, 10, seed=1)
    for target in range(1, 40):
        choice = choose(a_point(target))
        assert list(choice.ids).count(target) == 1
        assert sum(choice.done) == 1
        assert choice.places_in_all(np.array([1, len(choice.ids)])).tolist() == [1, 40]


def test_estimated_places_are_right_on_average(catalogue):
    choose, scores = sampled(catalogue, 10, seed=2), {item: -number for number, item in enumerate(catalogue.ids)}
    found = []
    for _ in range(600):
        choice = choose(a_point(20))
        place = 1 + sum(scores[item] > scores[20] for item in choice.ids)
        found.append(int(choice.places_in_all(np.array([place]))[0]))
    truth = 1 + sum(score > scores[20] for score in scores.values())
    assert np.mean(found) == pytest.approx(truth, rel=0.1)


def test_what_was_shown_is_shuffled_with_what_was_done_to_it():
    point = a_point(7, candidates=list(range(1, 21)), done=list(range(1, 21)))
    choice = as_shown(seed=1)(point)
    assert list(choice.ids) != list(range(1, 21))
    assert sorted(choice.ids) == list(range(1, 21))
    assert list(choice.ids) == list(choice.done) == choice.keys.tolist()
    assert choice.places_in_all(np.array([2])).tolist() == [2]
