"""The join by kernels and the plain one: the same inputs for a ranker, to the byte."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.attributes.table import no_attributes
from rankstream.features.embeddings.base import NoVectors, WithRows
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.embeddings.table import table_of
from rankstream.features.ids import id_keys
from rankstream.features.join import OfflineFeatures, join, match_user
from rankstream.features.matches.columns import match_width
from rankstream.features.matches.tables import no_matches
from rankstream.features.schema import check_inputs
from tests.builders.actions import MORNING_MS, VOCABULARY, MixingSessions, SomeVectors
from tests.builders.catalogue import an_item
from tests.builders.join_world import ITEMS, a_user, everything, with_a_shop

pytest.importorskip("numba", reason="numba is not installed: pip install 'rankstream[fast]'")

from rankstream.features.compiled.join import can_put, compiled_join, rows_of

kinds, gaps = st.sampled_from(VOCABULARY.actions), st.sampled_from([0, 1, 60, 1800, 1801, 90_000])
histories = st.lists(st.tuples(st.integers(0, ITEMS + 5), kinds, gaps), max_size=70)
asked = st.lists(st.integers(0, ITEMS + 9), min_size=1, max_size=30, unique=True)
labels = st.lists(st.sampled_from("abcdefg"), max_size=4, unique=True).map(tuple)
described = {
    "category": st.sampled_from([None, "a", "b", "a>c", "a>d", "b>c>e"]),
    "collections": labels,
    "group": st.sampled_from([None, "x", "y"]),
    "price": st.sampled_from([None, 0.0, 0.1, 9.5, 1e12]),
    "created_at_ms": st.sampled_from([None, 0, MORNING_MS - 1, MORNING_MS + 9_000_000_000]),
}
items = st.builds(an_item, st.integers(0, ITEMS + 9), **described)
shops = st.lists(items, max_size=40, unique_by=lambda item: item.id)


def without_attributes() -> OfflineFeatures:
    offline = everything()
    width = match_width(len(VOCABULARY.actions))
    return replace(offline, attributes=no_attributes(), sizes=replace(offline.sizes, match_features=width))


WORLDS = {
    "everything": everything,
    "no attributes": without_attributes,
    "features of the very items that have vectors": lambda: replace(
        everything(), item_features=table_of(list(range(55)), np.eye(55)[:, :2], space="features", as_of_ms=0)
    ),
    "features of items without a vector, too": lambda: replace(
        everything(), item_features=table_of(list(range(ITEMS + 8)), np.eye(ITEMS + 8)[:, :2], space="f", as_of_ms=0)
    ),
    "items that nobody had acted on": lambda: with_a_shop([], [an_item(n) for n in (1, 2, 40, ITEMS + 3)]),
    "of these alone anything is counted": lambda: replace(
        everything(), item_features=WithRows(NoVectors(2), id_keys([2, 5, 7])[::2], np.eye(2, dtype=np.float32))
    ),
    "of no item anything is counted": lambda: replace(
        everything(), item_features=WithRows(NoVectors(2), id_keys([]), np.zeros((0, 2), np.float32))
    ),
    "no tables of matches": lambda: replace(everything(), matches=no_matches()),
    "neither features nor sessions as wide as items": lambda: replace(
        everything(), item_features=NoVectors(2), sessions=MixingSessions(),
        sizes=replace(everything().sizes, session_dim=2),
    ),
    "vectors of a test": lambda: replace(everything(), items=SomeVectors(4)),
}  # fmt: skip


@pytest.mark.parametrize("world", WORLDS)
@settings(max_examples=20, deadline=None)
@given(actions=histories, items=asked, later=st.sampled_from([0, 3_000_000]), surface=st.integers(0, 3))
def test_a_ranker_gets_the_same_bytes(world, actions, items, later, surface):
    offline, (state, now_ms) = WORLDS[world](), a_user(actions)
    matches, candidates = match_user(state, 1, now_ms + later, offline), id_keys(items)
    wanted = join(matches, candidates, offline, surface)
    found = compiled_join(match_user(state, 1, now_ms + later, offline), candidates, offline, surface)
    check_inputs(found, offline.sizes)
    assert found.digest() == wanted.digest()


@settings(max_examples=40, deadline=None)
@given(shop=shops, new=shops, actions=histories, candidates=asked)
def test_whatever_a_shop_says_of_its_items_a_ranker_gets_the_same_bytes(shop, new, actions, candidates):
    offline, (state, now_ms) = with_a_shop(shop, new), a_user(actions)
    matches, keys = match_user(state, 1, now_ms, offline), id_keys(candidates)
    assert can_put(offline.item_features)
    assert compiled_join(matches, keys, offline).digest() == join(matches, keys, offline, 0).digest()


def test_the_world_has_all_that_is_compared():
    items = [*(at % 17 for at in range(30)), *(at % 13 for at in range(15))]
    done = [(item, VOCABULARY.actions[at % 4], 2000 if at == 30 else 60) for at, item in enumerate(items)]
    offline, (state, now_ms) = everything(), a_user(done)
    inputs = compiled_join(match_user(state, 1, now_ms, offline), id_keys(list(range(60))), offline)
    columns = inputs.candidate_features.any(axis=0)
    assert columns.all(), f"all zeros: {np.flatnonzero(~columns)}"
    assert state.tail.items


@pytest.mark.parametrize("keys", [[], [7], [3, 9, 1 << 62, (1 << 63) + 5], list(range(0, 900, 3))])
def test_rows_of_keys_are_those_of_the_plain_search(keys):
    column = np.array(keys, np.uint64)
    search, wanted = KeySearch(column), np.concatenate([column, column + np.uint64(1), np.zeros(1, np.uint64)])
    assert rows_of(search, wanted).tolist() == search.rows(wanted)[0].tolist()
