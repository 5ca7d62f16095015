import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.retrieval.index.exact import ExactIndex, top_rows
from tests.builders.bundle import vectors_of
from tests.contracts.vector_index import NOTHING, VectorIndexContract, exact_rows


def exact_index(vectors):
    return ExactIndex(vectors.astype(np.float16))


class TestExactIndex(VectorIndexContract):
    @pytest.fixture(scope="class")
    @classmethod
    def build_index(cls):
        return exact_index

    @pytest.mark.parametrize("queries", [1, 2])
    @pytest.mark.parametrize("limit", [1, 50, 4096])
    def test_rows_are_in_the_very_order_over_all_blocks(self, index, queries, limit):
        sought = vectors_of(queries, 8, 7)
        assert index.search(sought, limit, NOTHING).tolist() == exact_rows(sought, limit)

    def test_equally_near_rows_are_found_by_row(self):
        index = exact_index(np.ones((3, 8)))
        assert index.search(np.ones((1, 8), np.float32), 10, NOTHING).tolist() == [0, 1, 2]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 40))
def test_ties_go_to_the_lower_row(numbers, count):
    similarities = np.array(numbers, np.float32)
    rows = top_rows(similarities, min(count, len(similarities)))
    assert rows.tolist() == np.argsort(-similarities, kind="stable")[:count].tolist()
