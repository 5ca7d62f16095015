from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rankstream.content.filters import ItemFilters, passing
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.ids import id_keys
from rankstream.retrieval.scope import Scope, Stock
from rankstream.retrieval.sources.popular import PopularItems
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.retrieval import a_user, an_item_table
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


def test_however_rare_what_passes_it_is_found(tmp_path: Path) -> None:
    source = popular(tmp_path)
    scope = Scope(id_keys([]), Stock(a_catalogue(an_item(1), an_item(2)), source.items))
    assert source.propose(a_user(), 1, scope).ids == [2]
    assert source.propose(a_user(), 9, scope).ids == [2, 1]
