"""The feed's rivals, in worlds in which it is known what comes next."""

from dataclasses import replace
from math import log2
from pathlib import Path

import numpy as np
import pytest

from rankstream.evaluation.replay.own_scores import PastAction, Question, UserAsOf
from rankstream.experiments.feed.logs import FeedLog
from rankstream.experiments.feed.product import Product
from rankstream.experiments.feed.ranked import read_ranked
from rankstream.experiments.feed.replayed import SCORE, replay_to, variant_of
from rankstream.experiments.feed.rivals import ablations, sequences, trees, vmis
from rankstream.experiments.feed.rivals.base import Entry, Rival, ranked_by
from rankstream.experiments.feed.task import Task
from rankstream.experiments.movielens.next_item import NextItemConfig, NextItemModel
from rankstream.features.ids import id_keys
from rankstream.features.matches.columns import MATCH_NAMES, VECTOR_NAMES, match_width
from rankstream.features.schema import CONTEXT_NAMES, random_inputs
from rankstream.models.recipes.bundle import recipe_for
from rankstream.models.recipes.run_folder import load_models
from rankstream.models.recipes.train import train_bundle, train_models
from rankstream.models.training.loop import FitConfig
from tests.builders.bundle import AS_OF_MS, SIZES, a_bundle, a_user_table
from tests.builders.logs import write_log

MINUTE_MS = 60_000
RING = 12  # items, each followed by the next one


def row(user, item, minutes, action="save"):
    return {"user_id": user, "item_id": item, "action": action, "timestamp_ms": AS_OF_MS + round(minutes * MINUTE_MS)}


def a_task(folder: Path, rows) -> Task:
    path = write_log(folder / "log.csv", rows)
    return Task.open(FeedLog("ring", "a ring", path.name, ("save",)), folder)


def a_ring(users=60, steps=20):
    """Users walk around the ring, a minute from item to item; item 1 comes after item 12."""
    return [
        row(f"u{user}", 1 + (user + step) % RING, user + 2 * step) for step in range(steps) for user in range(users)
    ]


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return a_task(tmp_path_factory.mktemp("ring"), a_ring())


def an_entry(task, folder, name="rival", product=None):
    return Entry(name, task, product or Product(folder), queries=20, seed=1, folder=folder)


def a_question(items, candidates=range(1, RING + 1), action="save"):
    past = [PastAction(item, action, AS_OF_MS - back * MINUTE_MS) for back, item in enumerate(reversed(items))]
    return Question("q", UserAsOf("u", AS_OF_MS, past), list(candidates), id_keys(list(candidates)))


# Sequences ------------------------------------------------------------------------------------------------------------


def test_a_sequence_holds_each_item_once_a_time_and_is_wanted_if_anything_positive_was_done(tmp_path):
    rows = [row("u", 7, 0, "view"), row("u", 5, 1, "view"), row("u", 5, 1), row("u", 7, 2), row("v", 5, 0)]
    task = a_task(tmp_path, rows + [row("w", 9, 5 + at) for at in range(2)])
    (found,) = sequences.sequences_of(task, np.random.default_rng(0))
    assert [task.catalogue.ids[item] for item in found.items] == [7, 5, 7]
    assert found.wanted.tolist() == [False, True, True]


def test_held_out_sequences_end_with_their_newest_positives():
    one = sequences.UserSequence(np.array([4, 6, 8, 9]), np.array([True, False, True, True]))
    training, validation = sequences.held_out([one, one], np.random.default_rng(0))
    assert len(training) == 1
    assert sorted(found.tolist() for found in validation) == [[4, 6, 8], [4, 6, 8, 9]]


def test_windows_have_each_item_but_the_first_as_a_target_once(ring, monkeypatch):
    monkeypatch.setattr(sequences, "LENGTH", 3)
    one = sequences.UserSequence(np.arange(8), np.ones(8, np.bool_))
    windows = sequences.Windows([one], model=None).windows
    assert [window.items.tolist() for window in windows] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7]]


@pytest.mark.parametrize("new_model", [NextItemModel, sequences.GRU4Rec])
@pytest.mark.parametrize("max_scored", [sequences.MAX_SCORED, 5], ids=["all items", "sampled"])
def test_the_next_item_of_the_ring_is_first(ring, tmp_path, monkeypatch, new_model, max_scored):
    monkeypatch.setattr(sequences, "MAX_SCORED", max_scored)
    monkeypatch.setattr(sequences, "FIT", FitConfig(steps=80, learning_rate=1e-2, warm_up=5, evaluate_every=40))
    model, note = sequences.trained(an_entry(ring, tmp_path), new_model)
    scorer = sequences.SequenceScorer("rival", model, ring)
    for last in (3, 12):
        scores = scorer.scores(a_question([last - 2, last - 1, last]))
        assert 1 + int(scores.argmax()) == last % RING + 1
    assert ("all items" if max_scored > RING else "sampled items") in note


def test_a_user_without_items_gets_what_is_popular_and_unknown_candidates_no_score(tmp_path):
    rows = [row("u", item, at) for at, item in enumerate([1, 2, 2, 3, 3, 3])]
    task = a_task(tmp_path, [*rows, row("v", 1, 8), row("v", 1, 9)])
    model = NextItemModel(NextItemConfig(3, num_actions=4))
    scores = sequences.SequenceScorer("rival", model, task).scores(a_question([], [3, 1, 99, 2]))
    assert scores[[0, 1, 3]].tolist() == [3, 1, 2]
    assert np.isnan(scores[2])


# Trees ----------------------------------------------------------------------------------------------------------------


def test_an_items_rank_is_estimated_by_what_the_drawn_ones_stand_for():
    wanted = np.array([False, True, False, True, False])
    lists = trees.Lists(np.zeros((5, 1), np.float32), wanted, np.array([3.0, 1, 4, 1, 2]), np.array([3, 2]))
    scores = np.array([0.9, 0.5, 0.5, 0.7, 0.1])  # 3 above and 4 equal: rank 1 + 3 + 2; none above: rank 1
    assert trees.catalogue_ndcg(scores, lists) == pytest.approx((1 / log2(7) + 1) / 2)


def lists_that(column, count, width, seed=0):
    """Lists of ten, in which one column tells the one that is wanted."""
    features, wanted = np.random.default_rng(seed).random((10 * count, width)), np.tile(np.arange(10) == 4, count)
    features[wanted, column] += 1
    return trees.Lists(features.astype(np.float32), wanted, np.where(wanted, 1.0, 5.0), np.full(count, 10))


@pytest.mark.parametrize("objective", [*trees.OF_CATALOGUE, *trees.OF_LISTS], ids=str)
def test_trees_learn_which_column_tells(objective):
    booster, note = trees.best_of([objective], lists_that(1, 200, 3), lists_that(1, 50, 3, seed=1), seed=1)
    assert booster.predict(np.array([[0.5, 0.5, 0.5], [0.5, 1.5, 0.5]])).argmax() == 1
    assert f"{objective}: 1.000" in note


def test_trees_score_a_candidate_alone_as_they_do_among_others():
    width = SIZES.candidate_features + SIZES.context
    booster = trees.boosted(trees.OF_LISTS[0], lists_that(1, 50, width), lists_that(1, 20, width, seed=1), seed=1)
    drawn = random_inputs(SIZES, actions=3, candidates=30, num_types=4, seed=0)
    backend, inputs = trees.BoosterBackend(booster), replace(drawn, candidate_features=4 * drawn.candidate_features)
    rows = np.array([7, 2, 29])
    some = replace(
        inputs, candidate_items=inputs.candidate_items[rows], candidate_features=inputs.candidate_features[rows]
    )
    scores = backend.score(inputs)
    assert scores.shape == (30, 1)
    assert np.ptp(scores) > 0
    np.testing.assert_array_equal(backend.score(some), scores[rows])


def short_recipe(task):
    """The default recipe, but for two steps of each model."""
    recipe = recipe_for(replace(task.kind, positives=("save",)), task.opened.vocabulary)
    short = {
        name: replace(getattr(recipe.encoders, name), fit=FitConfig(steps=2)) for name in ("pinnerformer", "hiertcn")
    }
    recipe = replace(recipe, encoders=replace(recipe.encoders, **short))
    training = replace(recipe.ranker.training, fit=FitConfig(steps=2))
    return replace(recipe, ranker=replace(recipe.ranker, training=training))


@pytest.fixture(scope="module")
def run(ring, tmp_path_factory):
    """The folder of such a training, with a bundle and vectors of its users."""
    folder = tmp_path_factory.mktemp("run")
    users, work = folder / "vectors" / "users", folder / "work"
    train_bundle(ring.past, short_recipe(ring), folder / "bundle", users, work)
    return folder


@pytest.mark.slow
def test_trees_over_the_products_join_find_the_next_item_of_the_ring(ring, run):
    sizes = load_models(run / "work").ranker.config.sizes
    training, validation = trees.lists_of(ring, run / "work", seed=1)
    assert validation.sizes.max() <= RING
    assert training.wanted.sum() == len(training.sizes)
    is_known = sizes.candidate_features - 1
    assert 0.9 < training.features[:, is_known].mean() < 1  # some are hidden, as the ranker's are
    assert validation.features[:, is_known].all()
    booster, _ = trees.best_of(trees.OF_CATALOGUE, training, validation, seed=1)
    scores = booster.predict(validation.features)
    has_acted = validation.features[:, sizes.candidate_features + CONTEXT_NAMES.index("any_action")] > 0
    of_known_users = [rows for rows in validation.slices if has_acted[rows].all()]
    assert len(of_known_users) > 5
    assert all(validation.wanted[rows][scores[rows].argmax()] for rows in of_known_users)


class ByKnown:
    """Scores a candidate by the last column of its features: is it known?"""

    def score(self, inputs):
        return inputs.candidate_features[:, -1:]


@pytest.fixture
def product(tmp_path, ring):
    a_user_table(tmp_path / "run" / "vectors" / "users", ["u1"])
    a_bundle(tmp_path / "run" / "bundle", num_items=5, vocabulary=ring.opened.vocabulary)
    return Product(tmp_path / "run")


def test_a_backend_orders_the_feeds_of_a_bundle_in_place_of_its_ranker(ring, product, tmp_path):
    backend = ByKnown()
    variant = variant_of("rival", product, ring.cut_ms, backend=backend)
    assert variant.heads == (SCORE,)
    ranking = variant.rank("u1", ring.cut_ms, variant.delayed.state(b"u1"), [99, 3, 98, 5])
    assert ranking.ranks.tolist() == [3, 1, 4, 2]
    assert ranking.probabilities[:, 0].tolist() == [0, 1, 0, 1]


# Ablations ------------------------------------------------------------------------------------------------------------

WIDE = replace(SIZES, match_features=match_width(2))  # a ranker's that sees matches


@pytest.mark.parametrize(
    ("hide", "columns"),
    [
        (ablations.without_matches, slice(WIDE.item_features, -1)),
        (ablations.without_counts, slice(0, WIDE.item_features)),
    ],
)
def test_columns_of_candidates_are_hidden_and_all_else_is_as_it_was(hide, columns):
    inputs = random_inputs(WIDE, actions=5, candidates=7, num_types=2, seed=3)
    expected = inputs.candidate_features.copy()
    expected[:, columns] = 0
    assert hide(inputs, WIDE).digest() == replace(inputs, candidate_features=expected).digest()


def test_without_vectors_nothing_learned_is_left_but_counts_and_matches():
    inputs = random_inputs(WIDE, actions=5, candidates=7, num_types=2, seed=3)
    found = ablations.without_vectors(inputs, WIDE)
    changed = (found.candidate_features != inputs.candidate_features).any(axis=0)
    names = [MATCH_NAMES[column] for column in np.flatnonzero(changed) - WIDE.item_features]
    assert tuple(names) == VECTOR_NAMES
    assert not any(array.any() for array in (found.user_vector, found.session_vector, found.candidate_items))
    assert not found.action_items.any()
    assert np.array_equal(found.action_types, inputs.action_types)


@pytest.mark.slow
def test_what_is_hidden_in_training_is_hidden_when_it_serves(ring, run, tmp_path):
    hidden = []

    def hide(inputs, sizes):
        hidden.append(inputs.num_candidates)
        return ablations.without_actions(inputs, sizes)

    ablation = ablations.Ablation("actions", hide, change=few_steps)
    note = ablations.rank(an_entry(ring, tmp_path, product=Product(run)), ablation)
    assert note == "the ranker: 0.12 epochs, all that it had (best at 0.12)"
    assert hidden[-1] == RING  # a query of the replay, after all those of the training
    (ranker, *_) = read_ranked(tmp_path / f"{tmp_path.name}-20.parquet").ranks
    assert ranker == "rival"


def few_steps(recipe):
    return replace(recipe, training=replace(recipe.training, fit=FitConfig(steps=2)))


# VMIS-kNN, and what all share -----------------------------------------------------------------------------------------


def test_vmis_is_tuned_on_queries_before_the_cut_alone(ring, tmp_path):
    sizes, found = vmis.tuned(ring, 1, tmp_path / "validation.parquet")
    ranked = read_ranked(tmp_path / "validation.parquet")
    assert ranked.at_ms.max() < ring.cut_ms
    assert sizes.items == 1  # only the last item of the ring tells what comes next
    assert 0 < found <= 1


def test_a_rival_ranks_the_tables_queries_and_is_not_asked_again(ring, tmp_path):
    entry = an_entry(ring, tmp_path / "kept", "by id")
    asked = []

    class ById:
        name = "by id"

        def scores(self, question):
            return -np.array(question.candidates, np.float64)

    def rank(entry):
        asked.append(entry.row)
        entry.replay(scorer=ById())
        return "by id"

    first, again = (ranked_by(Rival("by id", rank), entry) for _ in range(2))
    assert first == again
    assert (asked, first["note"]) == (["by id"], "by id")
    ranked = read_ranked(entry.outcomes)
    assert [ranks.tolist() for ranks in ranked.ranks["by id"]] == [list(targets) for targets in ranked.targets]
    replay_to(tmp_path / "plain.parquet", ring, ring.plan(20, 1))
    assert read_ranked(tmp_path / "plain.parquet").queries == ranked.queries


# Shown lists ----------------------------------------------------------------------------------------------------------


def a_task_of_lists(folder):
    """Each hour a user is shown three items and saves the one that follows the one saved last on the ring."""
    rng, rows = np.random.default_rng(0), []
    for hour in range(16):
        for user in range(40):
            saved = 1 + (user + hour) % RING
            others = rng.choice([item for item in range(1, RING + 1) if item != saved], 2, replace=False)
            at = 60 * hour + user / 100
            rows += [row(f"u{user}", int(item), at, "view") for item in others] + [row(f"u{user}", saved, at)]
    task = a_task(folder, rows)
    return replace(task, kind=replace(task.kind, exposures=True))


def test_of_shown_lists_what_was_saved_alone_makes_a_sequence(tmp_path):
    task = a_task_of_lists(tmp_path)
    found = sequences.sequences_of(task, np.random.default_rng(0))
    assert sequences.acts_of(task) == {"save"}
    assert all(one.wanted.all() and (np.diff(one.items) % RING == 1).all() for one in found)


def test_shown_lists_are_ranked_by_tuned_neighbours_and_by_sequences(tmp_path):
    task = a_task_of_lists(tmp_path)
    _, found = vmis.tuned(task, 1, tmp_path / "validation.parquet")
    assert 0 < found <= 1
    model = NextItemModel(NextItemConfig(RING, num_actions=4))
    entry = an_entry(task, tmp_path / "sasrec", "SASRec")
    entry.replay(scorer=sequences.SequenceScorer("SASRec", model, task))
    ranked = read_ranked(entry.outcomes)
    assert set(ranked.candidates) == {3}
    assert all(1 <= ranks.min() <= 3 for ranks in ranked.ranks["SASRec"])


@pytest.mark.slow
def test_trees_learn_from_shown_lists(tmp_path):
    task = a_task_of_lists(tmp_path)
    train_models(task.past, short_recipe(task), tmp_path / "work")
    training, validation = trees.lists_of(task, tmp_path / "work", seed=1)
    assert set(training.sizes) == set(validation.sizes) == {3}
    assert (training.stands_for == 1).all()
    _, note = trees.best_of(trees.OF_LISTS, training, validation, seed=1)
    assert "binary" in note
