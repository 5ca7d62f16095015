"""What the first answer of a version would find out of all items is found out before it serves."""

import logging
from dataclasses import replace

from rankstream.features.schema import ModelInputs
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import LiveRanker, ranker_of
from rankstream.ranking.warm_up import warm_up
from tests.builders.bundle import a_bundle
from tests.builders.catalogue import an_item, published
from tests.builders.item_counts import publish_some
from tests.builders.threads import wait_for_threads
from tests.ranking.test_serving import Clock, wait_for_loading


def test_a_version_serves_with_its_orders_and_indexes_found_out(tmp_path):
    clock, counts, items = Clock(), tmp_path / "counts", tmp_path / "items"
    published(items, *(an_item(number) for number in range(1, 40)))
    bundle = a_bundle(tmp_path / "bundle")
    serving = LiveRanker.open(bundle, item_counts=counts, catalogue=items, clock=clock)
    before = serving.current
    publish_some(counts, seed=5)
    clock.now = 2
    _ = serving.current
    wait_for_loading()
    after = serving.current
    assert after is not before
    for ranker in (before, after):
        assert {"best", "remembered"} <= vars(ranker.popularity).keys()
        assert "starts" in vars(ranker.offline.items.search)
        assert ranker.shelf._stock is not None


def test_so_does_a_new_version_of_the_catalogue_alone(tmp_path):
    clock, items = Clock(), tmp_path / "items"
    published(items, an_item(1))
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), catalogue=items, clock=clock)
    published(items, an_item(1), an_item(2))
    clock.now = 2
    shelf = serving.current.shelf
    shelf.stock()  # which begins the look for a new one
    wait_for_threads("rankstream-catalogue")
    stock = shelf.stock()
    assert stock.catalogue.version.startswith("000002")
    assert {"rows", "gone"} <= vars(stock).keys()
    assert {"_ages", "_group_search"} <= vars(stock.catalogue).keys()


def test_a_version_that_cannot_answer_before_it_serves_is_told_of_and_serves(tmp_path, caplog):
    class Broken:
        def score(self, inputs: ModelInputs) -> None:
            raise RuntimeError("out of memory")

    bundle = open_bundle(a_bundle(tmp_path))
    with caplog.at_level(logging.WARNING):
        warm_up(replace(ranker_of(bundle, bundle.items), backend=Broken()), bundle)
    assert "model tiny-1 could not answer before it serves: RuntimeError('out of memory')" in caplog.text
