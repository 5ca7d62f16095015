from collections import Counter

import numpy as np
import pytest

from rankstream.features.ids import id_keys
from rankstream.retrieval.scope import Scope, Stock, seed_of
from rankstream.retrieval.sources.new_items import NewItems
from tests.builders.catalogue import DAY_MS, a_catalogue, an_item
from tests.builders.retrieval import NOW_MS, a_user, an_item_table

AGES_DAYS = {"today": 0.0, "this week": 6.9, "last week": 7.1, "long ago": 900.0}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """A shop whose item table knows none of its new items; one is of tomorrow, one of a time that is not known."""
    aged = [an_item(name, created_at_ms=int(NOW_MS - days * DAY_MS)) for name, days in AGES_DAYS.items()]
    more = [an_item("tomorrow", created_at_ms=NOW_MS + DAY_MS), an_item("undated")]
    table = an_item_table(tmp_path_factory.mktemp("items"), ["old"], np.ones((1, 4)))
    return Stock(a_catalogue(*aged, *more), table)


def scope(stock: Stock, request: str = "r", *excluded: str) -> Scope:
    return Scope(id_keys(excluded), stock, seed=seed_of("u1", request))


def test_items_younger_than_so_many_days_are_proposed_and_none_of_the_future(stock: Stock) -> None:
    proposals = NewItems(7).propose(a_user(), 10, scope(stock))
    assert set(proposals.ids) == {"today", "this week"}
    assert proposals.sources == ["new", "new"]


def test_what_is_excluded_or_does_not_pass_is_not_proposed(stock: Stock) -> None:
    assert NewItems(7).propose(a_user(), 10, scope(stock, "r", "today")).ids == ["this week"]
    passed = stock.catalogue.created_ms < NOW_MS
    assert NewItems(7).propose(a_user(), 10, Scope(id_keys([]), stock, passed)).ids == ["this week"]


def test_without_a_catalogue_nothing_is_new() -> None:
    assert NewItems(7).propose(a_user(), 10).ids == []


def test_a_request_samples_the_same_items_again_and_all_requests_together_each_as_often(stock: Stock) -> None:
    source = NewItems(7)
    first = [source.propose(a_user(), 1, scope(stock, f"r{n}")).ids for n in range(400)]
    assert first == [source.propose(a_user(), 1, scope(stock, f"r{n}")).ids for n in range(400)]
    counts = Counter(ids[0] for ids in first)
    assert abs(counts["today"] - 200) < 60  # 6 standard deviations


def test_fewer_items_are_the_first_of_more(stock: Stock) -> None:
    few, more = (NewItems(10_000).propose(a_user(), limit, scope(stock)).ids for limit in (2, 4))
    assert list(more)[:2] == list(few)
