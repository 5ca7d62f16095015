import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.key_search import KeySearch

ANY_KEY = st.integers(0, 2**64 - 1)
SMALL = st.integers(0, 500)


@settings(max_examples=200)
@given(st.lists(ANY_KEY | SMALL, max_size=300), st.lists(ANY_KEY | SMALL, max_size=50))
def test_keys_are_found_where_they_are_and_only_there(held, queried):
    keys = np.unique(np.array(held, np.uint64))
    wanted = np.concatenate([keys, np.array(queried, np.uint64)])
    rows, found = KeySearch(keys).find(wanted)
    assert np.array_equal(found, np.isin(wanted, keys))
    assert np.array_equal(keys[rows[found]], wanted[found])


@pytest.mark.parametrize(
    "keys",
    [
        np.arange(10_000, dtype=np.uint64),
        np.arange(0, 10**12, 10**8, dtype=np.uint64),
        np.random.default_rng(0).integers(2**63, 2**64 - 1, 10_000, dtype=np.uint64),
        np.concatenate([np.arange(10_000, dtype=np.uint64), np.array([2**63, 2**64 - 1], np.uint64)]),
    ],
    ids=["dense", "sparse", "hashed", "integers beside hashes"],
)
def test_large_columns_are_searched_whatever_their_spread(keys):
    keys = np.unique(keys)
    near = np.concatenate([keys, keys + np.uint64(1), keys - np.uint64(1)])
    rows, found = KeySearch(keys).find(near)
    assert np.array_equal(found, np.isin(near, keys))
    assert np.array_equal(keys[rows[found]], near[found])


@pytest.mark.parametrize("keys", [[2**63, 5], [5, 5], [7, 2**40, 9]])
def test_keys_that_are_not_sorted_are_refused_and_no_index_is_made_of_them(keys):
    with pytest.raises(BrokenTableError, match="not sorted, so it was damaged; publish the table again"):
        KeySearch(np.array(keys, np.uint64)).find(np.array([5], np.uint64))
