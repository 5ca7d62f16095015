"""What a catalogue's items are, as the ranker is given it."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.ids import id_key, id_keys
from rankstream.models.items.attributes import MAX_COLLECTIONS, attributes_of_new, item_attributes
from tests.builders.attributes import SHOP, shop_attributes
from tests.builders.catalogue import DAY_MS, NOW_MS, a_catalogue, an_item
from tests.builders.models import a_log


def labels_of(attributes, item, facet):
    start, stop = attributes.facet_spans[attributes.names.facets.index(facet)]
    (row,) = attributes.rows(id_keys([item]))
    return {int(code) for code in attributes.labels[start:stop, row]} - {attributes.no_label}


def test_each_level_of_the_category_the_group_and_collections_are_facets():
    attributes = shop_attributes()
    assert attributes.names.facets == ("category, level 1", "category, level 2", "group", "collections")
    assert labels_of(attributes, "trail", "category, level 2") == labels_of(attributes, "road", "category, level 2")
    assert labels_of(attributes, "trail", "category, level 2") != labels_of(attributes, "boot", "category, level 2")
    assert len(labels_of(attributes, "boot", "collections")) == 2
    assert labels_of(attributes, "cap", "group") == set()


def test_a_label_of_one_item_alone_is_none():
    items = [an_item(n, group=n, category="all") for n in range(5)] + [an_item(9, group=4, category="all")]
    assert item_attributes(a_catalogue(*items), a_log([])).names.facets == ()  # nothing tells two items from others


def test_shares_are_how_often_labels_are_acted_on_before_the_ranker_learns():
    attributes = shop_attributes()
    (shoes,) = labels_of(attributes, "trail", "category, level 1")
    (hats,) = labels_of(attributes, "cap", "category, level 1")
    assert attributes.shares[[shoes, hats]] == pytest.approx([(6 + 1) / (8 + 2), (2 + 1) / (8 + 2)])


def test_negative_actions_and_unknown_items_do_not_count():
    rows = [("u", "cap", "hide", 0), ("u", "nowhere", "save", 1), ("u", "trail", "save", 2)]
    attributes = item_attributes(SHOP, a_log(rows), ["hide"])
    (hats,) = labels_of(attributes, "cap", "category, level 1")
    assert attributes.shares[hats] == pytest.approx((0 + 1) / (1 + 2))


def test_of_many_collections_those_of_the_most_items_are_kept():
    items = [an_item(n, collections=tuple(f"c{m}" for m in range(n + 1))) for n in range(MAX_COLLECTIONS + 3)]
    attributes = item_attributes(a_catalogue(*items), a_log([]))
    last = MAX_COLLECTIONS + 2
    assert labels_of(attributes, last, "collections") == labels_of(attributes, MAX_COLLECTIONS - 1, "collections")
    assert len(attributes.labels) == MAX_COLLECTIONS


def test_prices_are_on_a_scale_of_their_own_and_equal_ones_say_nothing():
    cents = a_catalogue(*(an_item(n, price=100.0 * n) for n in range(1, 6)))
    euros = a_catalogue(*(an_item(n, price=1.0 * n) for n in range(1, 6)))
    one, other = (item_attributes(of, a_log([])).numbers for of in (cents, euros))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert one[2, 0] == 0  # the usual price
    assert item_attributes(a_catalogue(an_item(1, price=2.0), an_item(2, price=2.0)), a_log([])).names.numbers == ()


def test_an_item_that_the_catalogue_lacks_has_the_last_row():
    attributes = shop_attributes()
    assert attributes.rows(np.array([id_key("nowhere")], np.uint64)).tolist() == [len(SHOP)]
    assert (attributes.labels[:, -1] == attributes.no_label).all()


def test_an_item_that_arrives_later_has_the_labels_and_the_scale_that_were_learned():
    trained, at_ms = shop_attributes(), NOW_MS - DAY_MS
    twin = an_item(
        "twin", category="Shoes>Winter", price=200.0, group="b", collections=("winter",), created_at_ms=at_ms
    )
    grown = trained.with_items(attributes_of_new(SHOP.changed({id_key("twin"): twin}, NOW_MS), trained))
    assert len(grown) == len(trained) + 1
    for facet in trained.names.facets:
        assert labels_of(grown, "twin", facet) == labels_of(trained, "boot2", facet)
    of_twin, of_boot = (grown.rows(id_keys([item])) for item in ("twin", "boot2"))
    assert grown.numbers[of_twin] == grown.numbers[of_boot]
    assert grown.created_ms[of_twin] == at_ms


def test_labels_that_the_training_lacks_are_left_out():
    trained = shop_attributes()
    scarf = a_catalogue(an_item("scarf", category="Wool>Thick", group="z", collections=("sale", "knitted")))
    new = attributes_of_new(scarf, trained)
    (sale,) = labels_of(trained, "cap", "collections") & labels_of(trained, "boot", "collections")
    assert labels_of(new, "scarf", "collections") == {sale}
    assert labels_of(new, "scarf", "group") == labels_of(new, "scarf", "category, level 1") == set()


def test_a_training_that_did_not_keep_its_labels_is_refused():
    trained = replace(shop_attributes(), label_keys=np.zeros(0, np.uint64))
    with pytest.raises(ValueError, match="train again with this version"):
        attributes_of_new(SHOP, trained)
