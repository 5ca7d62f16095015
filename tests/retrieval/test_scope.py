"""What a request may not be answered with, no source proposes, whatever it knows of the user."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rankstream.content.filters import ItemFilters, passing
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, id_keys
from rankstream.graph.item_graph import ItemGraph
from rankstream.graph.walks import WalkConfig
from rankstream.models.items.matches import match_tables
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.mix import MixedSource, Quota
from rankstream.retrieval.scope import Scope, Stock, seed_of
from rankstream.retrieval.source import CandidateSource, Proposals
from rankstream.retrieval.sources.interests import InterestNeighbours
from rankstream.retrieval.sources.matches import MatchingItems
from rankstream.retrieval.sources.new_items import NewItems
from rankstream.retrieval.sources.popular import PopularItems
from rankstream.retrieval.sources.random_walk import BOARDS, RandomWalk
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity, RecentLikes
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.interests import a_table, interests
from tests.builders.models import a_log
from tests.builders.retrieval import NOW_MS, a_user, an_item_table

NAMES = list("abcdef")
TABLES = match_tables(a_log([("u", name, "view", at) for at, name in enumerate(NAMES)]), ["view"])
POLARITY = FeedbackPolarity(frozenset({1}), frozenset({3}))
USER = a_user(("view", "a"), tables=TABLES)
FEW_STEPS = WalkConfig(steps=20)
INTERESTS = a_table({"u1": interests(*((item, 1.0) for item in NAMES))})


@dataclass(frozen=True)
class AnOrder:
    lately: np.ndarray


def likes(items: EmbeddingTable) -> CandidateSource:
    return RecentLikes(items, ExactIndex(items.vectors), POLARITY)


SOURCES: dict[str, Callable[[EmbeddingTable], CandidateSource]] = {
    "likes": likes,
    "matches": MatchingItems,
    "walk": lambda items: RandomWalk(items, ItemGraph.of_sessions(TABLES), POLARITY),
    "interests": lambda items: InterestNeighbours(items, ExactIndex(items.vectors), a_table({}), POLARITY),
    "popular": lambda items: PopularItems(items, AnOrder(np.arange(len(items)))),
    "mixed": lambda items: MixedSource(Quota(likes(items), 1), Quota(MatchingItems(items), 1)),
}


@pytest.fixture(params=SOURCES)
def proposed(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., set[Id]]:
    items = an_item_table(tmp_path, NAMES, np.ones((6, 4)))
    source = SOURCES[request.param](items)

    def ask(*excluded: str, of: Sequence[str] | None = None, filters: ItemFilters | None = None) -> set[Id]:
        stock = None if of is None else Stock(a_catalogue(*(an_item(name, group=name) for name in of)), items)
        passed = None if filters is None or stock is None else passing(filters, stock.catalogue)
        return set(source.propose(USER, 10, Scope(id_keys(excluded), stock, passed)).ids)

    return ask


def test_what_is_excluded_gone_or_does_not_pass_is_not_proposed(proposed: Callable[..., set[Id]]) -> None:
    near = proposed("a")
    assert {"b", "c"} <= near <= {"b", "c", "d", "e", "f"}
    assert proposed("a", "b") == near - {"b"}
    assert proposed("a", of="abde") == near - {"c", "f"}
    assert proposed("a", of="abcdef", filters=ItemFilters(group="c")) == {"c"}
    assert proposed("a", of="abd", filters=ItemFilters(group="c")) == set()


def test_what_the_user_did_is_proposed_where_it_is_not_excluded(proposed: Callable[..., set[Id]]) -> None:
    assert "b" in proposed()
    assert "a" not in proposed("a")


SAMPLING: dict[str, Callable[[EmbeddingTable], CandidateSource]] = {
    "walk": lambda items: RandomWalk(items, ItemGraph.of_sessions(TABLES), POLARITY, FEW_STEPS),
    "board-walk": lambda items: RandomWalk(items, ItemGraph.of_sessions(TABLES), POLARITY, FEW_STEPS, BOARDS),
    "interests": lambda items: InterestNeighbours(items, ExactIndex(items.vectors), INTERESTS, POLARITY),
    "new": lambda _: NewItems(7),
}


@pytest.mark.parametrize("name", SAMPLING)
def test_what_is_sampled_is_the_requests_and_no_times(tmp_path: Path, name: str) -> None:
    items = an_item_table(tmp_path, NAMES, np.eye(6))
    stock = Stock(a_catalogue(*(an_item(item, created_at_ms=NOW_MS) for item in NAMES)), items)
    source = SAMPLING[name](items)

    def asked(request_id: Id, later_ms: int = 0) -> Proposals:
        user = a_user(("view", "a"), tables=TABLES, later_ms=later_ms)
        return source.propose(user, 4, Scope(id_keys(["a"]), stock, seed=seed_of("u1", request_id)))

    of_requests = [asked(f"r{number}") for number in range(20)]
    assert of_requests == [asked(f"r{number}", later_ms=1_000) for number in range(20)]
    assert len({tuple(one.ids) for one in of_requests}) > 5
    assert source.propose(USER, 4) == source.propose(USER, 4)


def test_sources_of_one_request_sample_apart() -> None:
    walks, others = (Scope(id_keys([]), seed=seed_of("u1", "r1")).rng(name).random(4) for name in ("walk", "interest"))
    assert not np.isin(walks, others).any()


def test_a_request_has_a_seed_of_its_own_on_any_machine() -> None:
    assert seed_of("u1", "r1") == 51495788615464815771502558882505597699
    assert len({seed_of(*ids) for ids in (("u1", "r1"), ("u1", "r2"), ("u2", "r1"), ("u", "1r1"), (1, "r1"))}) == 5
