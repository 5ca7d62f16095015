"""Requests with a limit where there is a catalogue: what is proposed, by which source, what stands in for nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from msgspec import UNSET

from rankstream.content.filters import ItemFilters
from rankstream.content.items import Item
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.ids import Id
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.popularity import recent_column
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import Ranking, RankingRefusedError, RankingRequest
from rankstream.ranking.retrieval_mix import DEFAULT_MIX, RetrievalMix, mix_named
from rankstream.ranking.serving import ranker_of
from tests.builders.bundle import a_bundle
from tests.builders.catalogue import DAY_MS, a_catalogue, an_item
from tests.builders.interests import a_table, interests
from tests.ranking.test_ranker import NOW, a_user

OLD_MS = NOW - 900 * DAY_MS
WARM = [an_item(n, created_at_ms=OLD_MS, price=float(n), category=f"Shoes>{n % 2}") for n in range(1, 151)]
NEW = [an_item(f"new-{n}", created_at_ms=NOW - DAY_MS, price=5.0) for n in range(30)]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Ranker:
    """A ranker of the items 1 to 200, without a catalogue."""
    bundle = open_bundle(a_bundle(tmp_path_factory.mktemp("bundle") / "b"))
    return ranker_of(bundle, NoVectors(bundle.manifest.sizes.user_dim))


@pytest.fixture(scope="module")
def stocked(bare: Ranker, tmp_path_factory: pytest.TempPathFactory):
    """Make a ranker beside a catalogue of these items."""
    bundle = open_bundle(a_bundle(tmp_path_factory.mktemp("bundle") / "b"))

    def with_items(items: Sequence[Item] = (*WARM, *NEW), mix: RetrievalMix = DEFAULT_MIX) -> Ranker:
        nobody = NoVectors(bundle.manifest.sizes.user_dim)
        return ranker_of(bundle, nobody, catalogues=a_catalogue(*items), mix=mix)

    return with_items


def ask(ranker: Ranker, *actions: Id, action: str = "save", **fields) -> Ranking:
    request = RankingRequest(**({"request_id": "r", "user_id": "u1", "limit": 100} | fields))
    return ranker.rank(request, a_user(*actions, action=action) if actions else UNKNOWN_USER, NOW)


def by_source(ranking: Ranking) -> dict[str, set[Id]]:
    found: dict[str, set[Id]] = {}
    for item in ranking.items:
        found.setdefault(item.source, set()).add(item.item_id)
    return found


def ids(ranking: Ranking) -> set[Id]:
    return {item.item_id for item in ranking.items}


def test_each_source_has_its_share_and_each_item_says_which(stocked):
    ranking = ask(stocked(), 5, 6)
    assert Counter(item.source for item in ranking.items) == {"recent-likes": 85, "new": 10, "popular": 5}
    assert all(str(item).startswith("new-") for item in by_source(ranking)["new"])
    assert ranking.retrieval == DEFAULT_MIX.text
    assert ranking.unknown_items == 10  # they have no vector yet


def test_what_is_not_in_the_catalogue_is_gone(stocked):
    assert not ids(ask(stocked(), 5, limit=500)) & set(range(151, 201))
    assert set(range(151, 201)) <= ids(ask(stocked([*WARM, *(an_item(n) for n in range(151, 201))]), 5, limit=500))


def test_what_the_user_has_seen_and_what_the_request_names_is_not_proposed(stocked):
    excluded = (7, "8", "new-3")
    found = ids(ask(stocked(), 5, 6, limit=500, exclude=excluded))
    assert not found & {5, 6, 7, 8, "new-3"}
    assert {9, "new-4"} <= found
    assert {5, 6} <= ids(ask(stocked(mix=replace(DEFAULT_MIX, exclude_seen=False)), 5, 6, limit=500))


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (ItemFilters(category=("Shoes", "1")), set(range(1, 151, 2))),
        (ItemFilters(price_min=10.0, price_max=12.0), {10, 11, 12}),
        (ItemFilters(price_max=5.0), {1, 2, 3, 4, 5, *(item.id for item in NEW)}),
    ],
)
def test_filters_hold_for_every_source(stocked, filters, wanted):
    assert ids(ask(stocked(), 199, limit=500, filters=filters)) == wanted


def test_the_same_request_is_answered_the_same_and_another_samples_other_new_items(stocked):
    ranker = stocked()
    again, other = ask(ranker, 5), ask(ranker, 5, request_id="r2")
    assert ask(ranker, 5).items == again.items
    assert by_source(again)["new"] != by_source(other)["new"]


def test_where_all_was_seen_popular_items_stand_in_and_say_so(stocked):
    ranking = ask(stocked(WARM[:3]), 1, 2, 3)
    assert by_source(ranking) == {"popular:fallback": {1, 2, 3}}


def test_without_a_catalogue_too_what_was_seen_stands_in_where_nothing_else_is_left_and_says_so(bare):
    others = tuple(range(6, 201))
    ranking = ask(bare, 1, 2, 3, 4, 5, exclude=others)
    assert by_source(ranking) == {"popular:fallback": {1, 2, 3, 4, 5}}
    with pytest.raises(RankingRefusedError, match="no item besides the 200 excluded can be had") as refused:
        ask(bare, 1, 2, exclude=(*others, 1, 2, 3, 4, 5))
    assert refused.value.reason == "no-candidates"


def test_a_user_of_whom_nothing_is_known_has_a_full_feed_of_what_is_popular(bare, stocked):
    best = bare.popularity.best
    assert by_source(ask(bare)) == {"popular:fallback": set(best[:100])}
    assert Counter(item.source for item in ask(stocked()).items) == {"popular": 90, "new": 10}
    without_popular = ask(stocked(mix=replace(DEFAULT_MIX, popular_share=0.0)))
    assert by_source(without_popular) == {"new": {f"new-{n}" for n in range(len(NEW))}}


def test_popular_items_that_stand_in_are_none_that_the_user_has_seen(bare):
    first, second, *others = bare.popularity.best
    asked = partial(ask, bare, first, second, action="hide")
    assert by_source(asked()) == {"popular:fallback": set(others[:100])}
    all_but_three = tuple(item for item in range(1, 201) if item not in (first, second, others[0]))
    assert by_source(asked(exclude=all_but_three)) == {"popular:fallback": {others[0]}}
    all_but_seen = (*all_but_three, others[0])
    assert by_source(asked(exclude=all_but_seen)) == {"popular:fallback": {first, second}}


def test_items_without_a_vector_or_an_age_stand_in_where_nothing_else_passes(stocked):
    ranking = ask(stocked([*WARM, an_item("x", group="g")]), 5, filters=ItemFilters(group="g"))
    assert by_source(ranking) == {"popular:fallback": {"x"}}


@pytest.mark.parametrize(
    ("fields", "reason", "says"),
    [
        ({"filters": ItemFilters(category=("Hats",))}, "no-candidates", "passes the filters .category Hats."),
        ({"exclude": tuple(range(1, 4))}, "no-candidates", "besides the 3 excluded"),
        ({"filters": ItemFilters(price_min=9.0, price_max=1.0)}, "bad-filters", "price_min 9 is above price_max 1"),
        ({"filters": ItemFilters(), "limit": None, "candidates": (1,)}, "bad-filters", "go with limit"),
        ({"exclude": (2,), "limit": None, "candidates": (1,)}, "bad-filters", "go with limit"),
    ],
)
def test_no_feed_is_empty_without_a_reason(stocked, fields, reason, says):
    with pytest.raises(RankingRefusedError, match=says) as refused:
        ask(stocked(WARM[:3]), **fields)
    assert refused.value.reason == reason


def test_without_a_catalogue_filters_are_refused_and_exclude_works(bare):
    with pytest.raises(RankingRefusedError, match="start it with --catalogue"):
        ask(bare, filters=ItemFilters(price_max=1.0))
    assert not ids(ask(bare, 5, limit=500, exclude=(7, 8))) & {5, 7, 8}
    assert {item.source for item in ask(bare, 5).items} == {ask(bare, 5, candidates=(1,), limit=None).items[0].source}


def test_given_candidates_use_no_catalogue(stocked, bare):
    given = {"candidates": (1, 180, "new-1"), "limit": None}
    ranking = ask(stocked(), 5, **given)
    assert ranking.items == ask(bare, 5, **given).items
    assert (ranking.catalogue, ranking.retrieval) == (None, None)


def test_what_there_is_no_time_to_score_is_in_the_catalogue_too(stocked, bare):
    request = RankingRequest("r", "u1", limit=200, exclude=(7,))
    found = ids(stocked().rank_by_popularity(request))
    assert found == set(range(1, 151)) - {7}
    assert ids(bare.rank_by_popularity(request)) == set(range(1, 201)) - {7}


@pytest.mark.parametrize(
    "mix",
    [
        DEFAULT_MIX,
        RetrievalMix(1 / 3, 0.1, 0.0, False),
        RetrievalMix(popular_window="ever"),
        RetrievalMix(popular_by="category"),
        RetrievalMix(popular_window="1d", popular_by="category"),
    ],
)
def test_a_mix_is_read_back_to_the_bit(mix):
    assert mix_named(mix.text) == mix


def test_a_mix_that_was_recorded_before_windows_and_segments_came_is_read_as_it_was_served():
    assert mix_named("new=0.1 new-days=14.0 popular=0.05 exclude-seen=1") == DEFAULT_MIX
    assert DEFAULT_MIX.text == "new=0.1 new-days=14.0 popular=0.05 exclude-seen=1"


def test_shares_that_leave_nothing_and_unknown_texts_are_refused():
    with pytest.raises(ValueError, match="less than 1 together"):
        RetrievalMix(new_share=0.5, popular_share=0.5)
    with pytest.raises(ValueError, match="wanted one as served features record it"):
        mix_named("everything")
    with pytest.raises(ValueError, match="wanted a window of 1d, 7d or ever, by all or category"):
        RetrievalMix(popular_window="2w")
    with pytest.raises(ValueError, match="by 'surface' given"):
        mix_named(f"{DEFAULT_MIX.text} popular-by=surface")


def test_a_share_of_nothing_leaves_the_source_out(stocked):
    ranking = ask(stocked(mix=RetrievalMix(0.0, 14.0, 0.0)), 5)
    assert {item.source for item in ranking.items} == {"recent-likes"}


def test_popular_is_what_was_done_lately(stocked):
    ranker = stocked()
    popularity = ranker.shelf.popular.popularity
    order = np.argsort(-popularity.look_up(ranker.shelf.items.keys)[0], kind="stable")
    assert popularity.lately.tolist() == order.tolist()  # this bundle does not say which feature is the last days'
    recent = replace(popularity, recent_column=1)
    features, _ = recent.features.look_up(recent.items.keys)
    assert (np.diff(features[recent.lately, 1]) <= 0).all()


def test_popular_is_by_the_window_that_is_wanted():
    names = ("log_popularity", "log_popularity_1d", "log_popularity_7d", "share_view")
    windows = {window: recent_column(names, 4, window) for window in ("1d", "7d", "ever")}
    assert windows == {"1d": 1, "7d": 2, "ever": None}
    assert recent_column(names, 4) == 2


def test_popular_by_category_is_what_is_popular_of_the_users_own(stocked):
    items = [an_item(n, created_at_ms=OLD_MS, category=("Hats", "Shoes")[n % 2]) for n in range(1, 151)]
    found = by_source(ask(stocked(items, mix=RetrievalMix(popular_share=0.4, popular_by="category")), 1, 3, 6))
    assert len(found["popular:category"]) > 20
    assert {item % 2 for item in found["popular:category"]} == {1}  # two of three were shoes


def test_interests_have_their_places_among_the_users_own_sources_and_say_why(tmp_path):
    bundle = open_bundle(a_bundle(tmp_path / "b"))
    table = a_table({"u1": interests((3, 2.0), (4, 1.0))})
    ranker = ranker_of(bundle, NoVectors(8), catalogues=a_catalogue(*WARM, *NEW), interests=table)
    ranking = ask(ranker)
    found = by_source(ranking)
    assert found.keys() == {"interest:1", "interest:2", "new", "popular"}
    reasons = {item.source: item.because_of for item in ranking.items}
    assert (reasons["interest:1"], reasons["interest:2"]) == (3, 4)
    assert {reasons["new"], reasons["popular"]} == {UNSET}
    assert ranking.interests == table.version
    assert not found["interest:1"] & set(range(151, 201))  # gone: not in the catalogue
