"""Strangers of a log of actions: by a ranker that knows nothing, they are shown what is popular all the same."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.events.log import EventLog
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.history import History
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import NoSessions
from rankstream.features.user_state import UserState
from rankstream.models.items.item_features import item_features
from rankstream.models.ranker.examples import STRANGER, NegativesConfig, RankingExample, inputs_of
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.ranker.strangers import fit_strangers
from rankstream.models.recipes import asked_strangers
from rankstream.models.recipes.asked_strangers import asked_as_by_strangers
from rankstream.models.recipes.bundle import RankerRecipe
from tests.builders.models import DAY_MS, a_log
from tests.builders.ranker import a_config, a_ranker
from tests.models.ranker.test_strangers import ITEMS, SHARES

RECIPE = RankerRecipe({"save": ("save",), "hide": ("hide",)}, {"save": 1.0, "hide": -1.0}, negatives=NegativesConfig())
ACTIONS, APART_MINUTES = 2_000, 10  # 14 days


def a_world() -> tuple[EventLog, ItemTable, OfflineFeatures, HybridRanker]:
    """Each user acts once, on what SHARES say or, one in ten, hides anything; the ranker has learned nothing."""
    rng = np.random.default_rng(0)
    saved, hidden = rng.choice(ITEMS, ACTIONS, p=SHARES), rng.integers(0, ITEMS, ACTIONS)
    rows = [
        (
            f"u{at}",
            int(hidden[at] if at % 10 == 0 else saved[at]),
            "hide" if at % 10 == 0 else "save",
            at * APART_MINUTES,
        )
        for at in range(ACTIONS)
    ]
    log, table = a_log(rows), ItemTable(np.arange(ITEMS), rng.normal(size=(ITEMS, 4)).astype(np.float32))
    features, names = item_features(log, table)
    offline = OfflineFeatures(
        FeatureSizes(2, table.dim, 1, 1, len(names)),
        table,
        ItemTable(table.ids, features),
        NoVectors(1),
        NoSessions(1),
    )
    return log, table, offline, a_ranker(a_config(offline.sizes, heads=1, layers=1, recent_outputs=1))


def best_five(ranker: HybridRanker, table: ItemTable, offline: OfflineFeatures, now_ms: int) -> float:
    """Return how much is done on the five items that a stranger is shown first."""
    nothing = np.zeros((ITEMS, 2), np.float32)
    asked = RankingExample(STRANGER, UserState(History(b"", 2)), now_ms, table.keys, nothing)
    scores = SplitRanker(ranker).probabilities(inputs_of(asked, offline)) @ np.array([1.0, -1.0], np.float32)
    return float(SHARES[np.argsort(-scores)[:5]].sum())


def test_a_ranker_that_has_learned_nothing_shows_strangers_what_is_popular():
    log, table, offline, ranker = a_world()
    now_ms = int(log.times_ms[-1])
    raw = best_five(ranker, table, offline, now_ms)
    days = list(asked_as_by_strangers(log, table, ranker, RECIPE, offline, now_ms - 7 * DAY_MS))
    ranker.config = replace(ranker.config, strangers=fit_strangers(days, RECIPE.weights).line)
    assert raw < 0.5 * SHARES[:5].sum()
    assert best_five(ranker, table, offline, now_ms) > 0.9 * SHARES[:5].sum()


def test_choices_are_what_weighs_something_and_was_held_out_each_with_its_day():
    log, table, offline, ranker = a_world()
    from_ms = int(log.times_ms[-1]) - 2 * DAY_MS
    days = list(asked_as_by_strangers(log, table, ranker, RECIPE, offline, from_ms))
    late = (log.times_ms >= from_ms) & (log.actions == log.codes_of(["save"])[0])
    assert [len(day.choices) for day in days] == np.unique(log.times_ms[late] // DAY_MS, return_counts=True)[1].tolist()
    assert [one.item for day in days for one in day.choices] == log.item_ids[late].tolist()
    assert all(one.heads.tolist() == [True, False] for day in days for one in day.choices)


def test_a_day_is_scored_as_serving_would_with_what_was_counted_before_it():
    log, table, offline, ranker = a_world()
    (day,) = asked_as_by_strangers(log, table, ranker, RECIPE, offline, int(log.times_ms[-1]) // DAY_MS * DAY_MS)
    midnight_ms = int(log.times_ms[-1]) // DAY_MS * DAY_MS
    features, _ = item_features(log.split_at(midnight_ms)[0], table)
    counted = replace(offline, item_features=ItemTable(table.ids, features.astype(np.float16).astype(np.float32)))
    held_out = np.flatnonzero((log.times_ms >= midnight_ms) & (log.actions == log.codes_of(["save"])[0]))
    now_ms = int(log.times_ms[held_out[len(held_out) // 2]])
    asked = RankingExample(STRANGER, UserState(History(b"", 2)), now_ms, table.keys, np.zeros((ITEMS, 2), np.float32))
    served = SplitRanker(ranker).probabilities(inputs_of(asked, counted))
    np.testing.assert_allclose(1 / (1 + np.exp(-day.logits)), served, atol=1e-6)
    np.testing.assert_array_equal(day.popularity, counted.item_features.vectors[:, :3])


def test_first_choices_are_what_users_did_before_anything_else():
    _, table, offline, ranker = a_world()
    rows = [("u", 3, "save", 2_000), ("u", 4, "save", 2_000), ("u", 5, "save", 2_001)]
    log = a_log([("v", 6, "hide", 1_999), *rows, ("v", 7, "save", 2_002), ("w", 8, "save", 2_003)])
    (day,) = asked_as_by_strangers(log, table, ranker, RECIPE, offline, 0, firsts=True)
    assert [one.item for one in day.choices] == [3, 4, 8]  # what one moment holds was chosen at once


@pytest.mark.parametrize(("exclude_seen", "alternatives"), [(True, [[], [0], [0, 1]]), (False, [[], [], []])])
def test_what_its_user_had_acted_on_is_no_alternative_where_nothing_is_repeated(exclude_seen, alternatives):
    _, table, offline, ranker = a_world()
    log = a_log([("u", item, "save", 2_000 + item) for item in range(3)] + [("u", 0, "save", 2_010)])
    recipe = replace(RECIPE, negatives=NegativesConfig(exclude_seen=exclude_seen))
    (day,) = asked_as_by_strangers(log, table, ranker, recipe, offline, 0)
    assert [one.seen.tolist() for one in day.choices][:3] == alternatives
    assert len(day.choices) == (3 if exclude_seen else 4)  # the one that is repeated was no choice


def test_of_many_choices_and_days_some_are_asked(monkeypatch):
    log, table, offline, ranker = a_world()
    monkeypatch.setattr(asked_strangers, "MAX_CHOICES", 200)
    monkeypatch.setattr(asked_strangers, "MAX_SCORED", 3 * ITEMS)
    days = list(asked_as_by_strangers(log, table, ranker, RECIPE, offline, 0))
    assert len(days) == 3
    assert 0 < sum(len(day.choices) for day in days) < 200
