"""Interests between two batch jobs: decayed, joined by what is near, opened by what is not."""

from math import exp

import numpy as np
import pytest

from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_keys
from rankstream.features.interests.interests import DAY_MS, NO_INTERESTS, UserInterests, carried_on, decayed
from tests.builders.interests import interests


def at_cosine(cosine: float) -> list[float]:
    """A vector of that cosine with a."""
    return [cosine, (1 - cosine**2) ** 0.5, 0]


IDS = ["a", "near", "far", "b", "zero"]
ITEMS = ItemTable(np.array(IDS, object), np.array([[3, 0, 0], at_cosine(0.86), at_cosine(0.84), [0, 0, 1], [0, 0, 0]]))


def now(before: UserInterests, *actions: tuple[str, float], days: float = 0) -> dict[str, tuple[float, int]]:
    """Carried on with actions of an age in days, oldest first: importance and actions by item."""
    ages_ms = np.array([age * DAY_MS for _, age in actions], np.int64)
    found = carried_on(before, int(days * DAY_MS), id_keys([item for item, _ in actions]), ages_ms, ITEMS, 0.1)
    names = dict(zip(id_keys([*IDS, "gone"]).tolist(), [*IDS, "gone"], strict=True))
    medoids = [names[key] for key in found.medoids.tolist()]
    values = zip(found.importances.tolist(), found.actions.tolist(), strict=True)
    return dict(zip(medoids, values, strict=True))


def test_without_new_actions_all_decay_alike():
    found = now(interests(("a", 2.0), ("b", 1.0)), days=3)
    assert found == {"a": (pytest.approx(2 * exp(-0.3)), 1), "b": (pytest.approx(exp(-0.3)), 1)}


def test_a_near_action_joins_its_interest_and_a_far_one_opens_another():
    assert now(interests(("a", 2.0)), ("near", 0)) == {"a": (3.0, 2)}
    assert now(interests(("a", 2.0)), ("far", 0)) == {"a": (2.0, 1), "far": (1.0, 1)}


def test_older_actions_count_less_and_the_most_important_comes_first():
    found = now(interests(("a", 0.5)), ("b", 2), ("b", 1))
    assert list(found) == ["b", "a"]
    assert found["b"] == (pytest.approx(exp(-0.2) + exp(-0.1)), 2)


def test_a_new_interest_is_joined_by_what_comes_after_it():
    assert now(NO_INTERESTS, ("a", 0), ("near", 0), ("a", 0)) == {"a": (3.0, 3)}


def test_items_without_a_vector_show_nothing_and_stand_for_nothing():
    assert now(interests(("gone", 9.0), ("a", 2.0)), ("zero", 0), ("gone", 0)) == {"a": (2.0, 1)}
    assert now(NO_INTERESTS) == {}


def test_an_action_of_the_future_counts_as_one_of_now():
    assert decayed(np.array([-5 * DAY_MS, 0, 10 * DAY_MS]), 0.1).tolist() == pytest.approx([1, 1, exp(-1)])


def test_interests_of_years_ago_still_count_for_who_comes_back():
    ten_years = decayed(np.array([3650 * DAY_MS]), 1.0)
    found = carried_on(interests(("a", float(ten_years[0]))), 3650 * DAY_MS, id_keys([]), np.zeros(0), ITEMS, 1.0)
    assert found.importances.tolist() == [pytest.approx(exp(-80))]
    assert now(interests(("a", 1.0)), ("b", 0), days=365_000).keys() == {"b", "a"}
