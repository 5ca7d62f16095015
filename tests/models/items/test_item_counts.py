"""Item counts of a log, by hand: popularity, what follows what, as of a time and of a bundle's items alone."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.bundles.item_counts import NotCountableError
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_keys
from rankstream.models.items.item_counts import item_counts
from tests.builders.bundle import AS_OF_MS
from tests.builders.impressions import shown
from tests.builders.item_counts import a_recipe, log_of, the_same

MINUTE = 60_000
ITEMS = ItemTable(np.arange(1, 41), np.zeros((40, 0), np.float32))
ROWS = [
    ("u", 1, "view", AS_OF_MS), ("u", 2, "save", AS_OF_MS + MINUTE),
    ("v", 1, "view", AS_OF_MS + 2 * MINUTE), ("v", 2, "view", AS_OF_MS + 3 * MINUTE),
    ("v", 3, "hide", AS_OF_MS + 4 * MINUTE), ("w", 3, "save", AS_OF_MS + 9 * MINUTE),
]  # fmt: skip


def feature(counts, name, items=(1, 2, 3, 4)):
    """A dense feature of items."""
    return counts.item_features.look_up(id_keys(items))[0][:, counts.feature_names.index(name)].tolist()


def followers(counts, item):
    """What followed an item, and how often."""
    row = counts.matches.rows(id_keys([item]))[0][0]
    keys = counts.matches.keys[counts.matches.followers.of(row)].tolist()
    return dict(zip(keys, counts.matches.followers.weights_of(row).tolist(), strict=True))


def test_what_happened_until_a_time_is_counted_and_nothing_later():
    counts = item_counts(log_of(ROWS), ITEMS, a_recipe(), AS_OF_MS + 3 * MINUTE)
    assert followers(counts, 1) == {2: 2}
    assert feature(counts, "log_popularity") == pytest.approx([1, 1, 0, 0], abs=1e-3)
    # item 2: one save of two actions, of all four one: (1 + 20 / 4) / 22 - 1 / 4
    assert feature(counts, "share_save", [2]) == pytest.approx([6 / 22 - 1 / 4], abs=1e-3)
    assert counts.as_of_ms == AS_OF_MS + 3 * MINUTE
    later = item_counts(log_of(ROWS), ITEMS, a_recipe(), AS_OF_MS + 9 * MINUTE)
    assert feature(later, "log_popularity", [3]) == [1]  # two actions, as the others have


def test_items_of_which_the_bundle_has_no_vector_change_nothing():
    new = [("u", "new", "view", AS_OF_MS + 30_000), ("v", 77, "save", AS_OF_MS + 4 * MINUTE)]
    rows = sorted([*ROWS, *new], key=lambda row: row[3])
    one, other = (item_counts(log_of(log), ITEMS, a_recipe(), AS_OF_MS + 9 * MINUTE) for log in (ROWS, rows))
    assert the_same(one, other)


def test_a_model_with_other_features_keeps_its_own_counts():
    recipe = replace(a_recipe(), feature_names=("price",))
    with pytest.raises(
        NotCountableError, match=r"features price, this version .* counts log_popularity.*train it again"
    ):
        item_counts(log_of(ROWS), ITEMS, recipe, AS_OF_MS)


def test_rates_of_shown_lists_are_not_counted_of_a_log_that_does_not_say_what_was_shown():
    recipe = replace(a_recipe(), rates={"save": ("save",)}, lists=True)
    with pytest.raises(NotCountableError, match=r"says what was shown, .* this one does not.*--shown or --impressions"):
        item_counts(log_of(ROWS), ITEMS, recipe, AS_OF_MS)
    with pytest.raises(NotCountableError, match=r"does not say what was shown, .* this one does"):
        item_counts(log_shown(), ITEMS, replace(recipe, lists=False), AS_OF_MS)


def test_rates_of_what_was_shown_until_a_time_are_counted_and_nothing_later():
    names = (*a_recipe().feature_names, "log_exposures", "log_yesterday", "rate_save")
    recipe = replace(a_recipe(), rates={"save": ("save",)}, lists=True, feature_names=names)
    counts = item_counts(log_shown(), ITEMS, recipe, AS_OF_MS + 9 * MINUTE)
    assert feature(counts, "log_exposures", (1, 2, 3)) == pytest.approx(
        [0, np.log1p(1) / 10, np.log1p(1) / 10], abs=1e-3
    )
    saved, left = feature(counts, "rate_save", (2, 3))
    assert saved > 0 > left


def test_where_newcomers_are_counted_what_was_acted_on_or_shown_is_and_the_bundles_items_come_first():
    names = (*a_recipe().feature_names, "log_exposures", "log_yesterday", "rate_save")
    recipe = replace(a_recipe(), rates={"save": ("save",)}, lists=True, feature_names=names)
    few = ItemTable(np.array([1, 2]), np.zeros((2, 0), np.float32))  # 3 came later, 4 was shown and never acted on
    known = item_counts(log_shown(), few, recipe, AS_OF_MS + 30 * MINUTE)
    counts = item_counts(log_shown(), few, replace(recipe, newcomers=True), AS_OF_MS + 30 * MINUTE)
    assert sorted(known.item_features.keys.tolist()) == sorted(id_keys([1, 2]).tolist())
    assert sorted(counts.item_features.keys.tolist()) == sorted(id_keys([1, 2, 3, 4]).tolist())
    assert feature(known, "log_exposures", (3, 4)) == [0, 0]
    assert feature(counts, "log_exposures", (3, 4)) == pytest.approx([np.log1p(2) / 10, np.log1p(1) / 10], abs=1e-3)
    assert feature(counts, "log_popularity", (3,)) == [1]
    earlier = item_counts(log_shown(), few, replace(recipe, newcomers=True), AS_OF_MS + 3 * MINUTE)
    assert sorted(earlier.item_features.keys.tolist()) == sorted(id_keys([1, 2, 3]).tolist())  # 4 was not there yet


def log_shown():
    """The first user is shown items 2 and 3 and saves one; another list comes later."""
    return replace(log_of(ROWS), impressions=shown(("u", 2, 0.5), ("u", 3, 0.5), ("v", 3, 20), ("v", 4, 20)))
