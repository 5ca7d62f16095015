from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from rankstream.content.filters import ItemFilters, passing
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.ids import Id, id_keys
from rankstream.retrieval.scope import Scope, Stock
from rankstream.retrieval.sources.popular import OF_CATEGORY, SOURCE, PopularItems
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.retrieval import VOCABULARY, a_user, an_item_table
from tests.contracts.candidate_source import CandidateSourceContract


@dataclass(frozen=True)
class AnOrder:
    lately: Rows


def popular(folder: Path, count: int = 60) -> PopularItems:
    """Items 1 to ``count``, the last one the most popular."""
    table = an_item_table(folder, range(1, count + 1), np.ones((count, 4)))
    return PopularItems(table, AnOrder(np.arange(count)[::-1]))


class TestPopularItems(CandidateSourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> PopularItems:
        return popular(tmp_path)


def test_the_most_popular_come_first_that_are_in_the_catalogue_and_pass(tmp_path: Path) -> None:
    source = popular(tmp_path)
    catalogue = a_catalogue(*(an_item(n, price=float(n)) for n in range(1, 51)))
    passed = passing(ItemFilters(price_max=45.0), catalogue)
    scope = Scope(id_keys([44]), Stock(catalogue, source.items), passed)
    assert source.propose(a_user(), 3, scope).ids == [45, 43, 42]
    assert source.propose(a_user(), 3, Scope(id_keys([]), Stock(catalogue, source.items))).ids == [50, 49, 48]


SAVES = FeedbackPolarity(positive=frozenset({VOCABULARY.action_codes["save"]}), negative=frozenset())


def of_a_category(folder: Path, *liked: int, sizes: tuple[int, int] = (40, 20)) -> list[tuple[Id, str]]:
    """Propose 25 of 60 items to who liked these, newest first; the first 40 are hats and the others shoes."""
    source = replace(popular(folder), by_category=SAVES)
    kinds = ["Hats>Caps"] * sizes[0] + ["Shoes"] * sizes[1]
    catalogue = a_catalogue(*(an_item(n, category=kind) for n, kind in enumerate(kinds, start=1)))
    scope = Scope(id_keys(liked), Stock(catalogue, source.items))
    found = source.propose(a_user(*(("save", item) for item in liked)), 25, scope)
    return list(zip(found.ids, found.sources, strict=True))


def test_by_category_what_is_popular_of_the_users_own_comes_first_and_says_so(tmp_path: Path) -> None:
    found = of_a_category(tmp_path, 7, 60, 59)
    assert found[:18] == [(item, OF_CATEGORY) for item in range(58, 40, -1)]  # two of three were shoes
    assert found[18:] == [(item, SOURCE) for item in range(40, 33, -1)]  # then of all, none twice


def test_what_is_no_positive_feedback_tells_no_category(tmp_path: Path) -> None:
    source = replace(popular(tmp_path), by_category=SAVES)
    catalogue = a_catalogue(*(an_item(n, category="Shoes" if n > 40 else "Hats") for n in range(1, 61)))
    user = a_user(("view", 60), ("view", 59), ("save", 7))
    assert source.propose(user, 1, Scope(id_keys([]), Stock(catalogue, source.items))).ids == [40]


def test_of_equally_many_the_newest_items_category_is_meant(tmp_path: Path) -> None:
    assert of_a_category(tmp_path / "hat", 7, 60)[0] == (40, OF_CATEGORY)
    assert of_a_category(tmp_path / "shoe", 60, 7)[0] == (59, OF_CATEGORY)


def test_who_likes_no_category_is_proposed_what_is_popular_of_all(tmp_path: Path) -> None:
    assert of_a_category(tmp_path / "nobody")[0] == (60, SOURCE)
    source = replace(popular(tmp_path / "bare"), by_category=SAVES)
    assert source.propose(a_user(("save", 7)), 2).sources == [SOURCE] * 2  # without a catalogue nothing has a category
    plain = Scope(id_keys([]), Stock(a_catalogue(*map(an_item, range(1, 61))), source.items))
    assert source.propose(a_user(("save", 7)), 2, plain).ids == [60, 59]  # nor in one that names none


def test_filters_hold_by_category_too(tmp_path: Path) -> None:
    source = replace(popular(tmp_path), by_category=SAVES)
    catalogue = a_catalogue(*(an_item(n, category="Shoes" if n > 40 else "Hats", price=float(n)) for n in range(1, 61)))
    scope = Scope(id_keys([]), Stock(catalogue, source.items), passing(ItemFilters(price_max=42.0), catalogue))
    assert source.propose(a_user(("save", 50)), 4, scope).ids == [42, 41, 40, 39]


def test_however_rare_what_passes_it_is_found(tmp_path: Path) -> None:
    source = popular(tmp_path)
    scope = Scope(id_keys([]), Stock(a_catalogue(an_item(1), an_item(2)), source.items))
    assert source.propose(a_user(), 1, scope).ids == [2]
    assert source.propose(a_user(), 9, scope).ids == [2, 1]
