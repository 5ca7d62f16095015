import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.models.training.negatives import CountSketch, log_pool_rate

ITEMS = st.lists(st.integers(0, 200), max_size=300)


@given(ITEMS)
def test_a_sketch_never_counts_too_little(items):
    sketch = CountSketch(width=64, depth=4)
    sketch.add(np.array(items, np.int64))
    for item in set(items):
        assert sketch.count(np.array([item]))[0] >= items.count(item)


@given(ITEMS)
def test_a_sketch_as_wide_as_the_catalogue_is_exact(items):
    sketch = CountSketch(width=201, depth=1)
    sketch.add(np.array(items, np.int64))
    assert sketch.count(np.arange(201)).tolist() == [items.count(item) for item in range(201)]


def test_log_q_is_how_often_an_item_is_in_a_pool():
    rng, shares = np.random.default_rng(0), np.array([0.6, 0.3, 0.1, 0.0])
    pools = 4000
    seen = np.zeros(4)
    for _ in range(pools):
        pool = np.concatenate([rng.choice(4, 30, p=shares), rng.integers(0, 4, 8)])
        seen += np.bincount(pool, minlength=4)
    assert np.exp(log_pool_rate(shares, 30, 8, 4)) == pytest.approx(seen / pools, rel=0.03)
