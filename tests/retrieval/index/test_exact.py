import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import id_keys
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.exact import ExactRetrieval, nearest
from tests.builders.bundle import vectors_of

UNKNOWN_ID = id_keys([])
IDS = [*range(1, 9_000), "apple", "pear"]  # more than two blocks
VECTORS = vectors_of(len(IDS), 8, 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("items")
    publish(root, IDS, VECTORS, space="items", as_of_ms=0)
    return ExactRetrieval(EmbeddingTable.open(root))


def the_truth(queries, limit, exclude=()):
    nearness = (VECTORS @ unit(queries).T).max(axis=1)
    order = [IDS[row] for row in np.argsort(-nearness, kind="stable")]
    return [identifier for identifier in order if identifier not in exclude][:limit]


@pytest.mark.parametrize("queries", [1, 2])
@pytest.mark.parametrize("limit", [1, 50, 4096])
def test_the_nearest_items_are_found_over_all_blocks(source, queries, limit):
    wanted = vectors_of(queries, 8, 7)
    assert source.propose(wanted, limit, UNKNOWN_ID) == the_truth(wanted, limit)


def test_excluded_items_are_not_proposed(source):
    query = vectors_of(1, 8, 7)
    best = source.propose(query, 5, UNKNOWN_ID)
    assert source.propose(query, 5, id_keys([*best[:3], "not in the table"])) == the_truth(query, 5, best[:3])


def test_no_more_is_proposed_than_there_is(tmp_path):
    publish(tmp_path, [3, 1, 2], np.ones((3, 8)), space="items", as_of_ms=0)
    source = ExactRetrieval(EmbeddingTable.open(tmp_path))
    assert source.propose(np.ones((1, 8), np.float32), 10, UNKNOWN_ID) == [1, 2, 3]
    assert source.propose(np.ones((1, 8), np.float32), 10, id_keys([1, 2, 3])) == []


def test_without_queries_items_near_to_the_middle_are_proposed(source):
    proposed = source.propose(np.zeros((0, 8), np.float32), 20, UNKNOWN_ID)
    assert proposed == the_truth(VECTORS.mean(axis=0, keepdims=True), 20)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 40))
def test_ties_go_to_the_lower_row(numbers, count):
    nearness = np.array(numbers, np.float32)
    rows = nearest(nearness, min(count, len(nearness)))
    assert rows.tolist() == np.argsort(-nearness, kind="stable")[:count].tolist()
