"""Columns of what candidates are, by hand and by the law that a candidate's columns are its own."""

from math import log, log1p

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.attributes.columns import DECAY, PRIOR_ACTIONS, attribute_columns, column_names
from rankstream.features.attributes.table import no_attributes
from rankstream.features.ids import id_keys
from tests.builders.attributes import SHOP, columns_of, shop_attributes
from tests.features.matches.test_columns import a_user

ITEMS = ["trail", "road", "boot", "boot2", "cap", "beanie", "unknown"]


def test_the_share_of_a_category_weighs_newer_actions_more():
    user = a_user(("cap", 1, 1), ("boot", 1, 2), ("unknown", 1, 3), ("trail", 1, 4))
    found = columns_of(user, ["beanie", "road", "unknown"], shop_attributes())
    hats, shoes = 1.0, DECAY + DECAY**3
    wanted = [hats / (hats + shoes), shoes / (hats + shoes), 0]
    assert found["category, level 1: recent"] == pytest.approx(wanted)


def test_affinity_compares_the_users_share_with_all_users():
    user = a_user(("cap", 1, 1), ("beanie", 1, 2))
    found = columns_of(user, ["cap", "road"], shop_attributes())
    usual = (2 + 1) / (8 + 2)  # hats, of eight actions on two categories, smoothed by one each
    assert found["category, level 1: affinity"] == pytest.approx([log1p(2 / (2 + PRIOR_ACTIONS) / usual), 0])


def test_freshness_is_that_of_the_newest_action_with_the_label():
    user = a_user(("boot", 1, 60), ("cap", 1, 120), ("trail", 1, 180))
    found = columns_of(user, ["road", "boot2", "beanie"], shop_attributes())
    assert found["category, level 2: freshness"] == pytest.approx([1 / (1 + log1p(3)), 1 / (1 + log1p(1)), 0])


def test_an_item_of_several_collections_has_their_mean():
    user = a_user(("beanie", 1, 1), ("boot2", 1, 2))
    found = columns_of(user, ["trail", "boot", "cap", "road"], shop_attributes())
    assert found["collections: recent"] == pytest.approx([0, 0.5, 0, 0])  # boot: all of winter, none of sale
    assert found["collections: known"] == [1, 1, 1, 0]


def test_a_price_is_compared_with_what_the_user_looked_at_last():
    user = a_user(("road", 1, 1), ("boot", 1, 2), ("boot2", 1, 3), ("unknown", 1, 4))
    found = columns_of(user, ["trail", "boot", "unknown"], shop_attributes())
    usual = 90.0  # median of the shop's
    assert found["price: value"] == pytest.approx([log1p(80 / usual) - log(2), log1p(200 / usual) - log(2), 0])
    assert found["price: above"] == pytest.approx([log1p(80 / usual) - log1p(200 / usual), 0, 0])
    assert found["price: apart"] == pytest.approx([log1p(200 / usual) - log1p(80 / usual), 0, 0])
    assert found["price: known"] == [1, 1, 0]


def test_an_item_grows_older_and_is_apart_from_those_of_another_time():
    found = columns_of(a_user(("trail", 1, 1)), ["trail", "road", "boot"], shop_attributes())
    assert found["age: age"] == pytest.approx([0, log1p(10) / 10, 0])
    assert found["age: apart"] == pytest.approx([0, log1p(10) / 10, 0])
    assert found["age: known"] == [1, 1, 0]


def test_a_user_without_actions_sees_what_items_are_and_nothing_of_a_taste():
    attributes = shop_attributes()
    found = columns_of(a_user(), ["cap", "unknown"], attributes)
    told = [name for name, values in found.items() if any(values)]
    wanted = ["category, level 1: known", "collections: known", "price: known", "price: value"]
    assert told == wanted


def test_an_unknown_item_is_zeros_whatever_the_user_did():
    found = attribute_columns(a_user(("unknown", 1, 1), ("cap", 1, 2)), id_keys(["unknown"]), shop_attributes())
    assert not found.any()


@given(st.lists(st.sampled_from(ITEMS), max_size=30), st.permutations(ITEMS), st.integers(1, len(ITEMS)))
def test_no_column_of_a_candidate_depends_on_the_others(history, candidates, count):
    attributes, user = shop_attributes(), a_user(*((item, 1, 10.0 * at) for at, item in enumerate(history)))
    together = attribute_columns(user, id_keys(candidates), attributes)
    some = attribute_columns(user, id_keys(candidates[:count]), attributes)
    assert some.tobytes() == together[:count].tobytes()
    assert np.isfinite(together).all()
    assert together.shape == (len(ITEMS), len(column_names(attributes.names)))


def test_without_a_catalogue_there_are_no_columns():
    assert attribute_columns(a_user(("cap", 1, 1)), SHOP.keys, no_attributes()).shape == (len(SHOP), 0)
