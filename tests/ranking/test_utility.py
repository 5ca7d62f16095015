import numpy as np
import pytest

from rankstream.ranking.utility import head_weights, utility


def test_a_score_is_the_sum_of_weight_times_probability():
    assert utility(np.array([[0.5, 0.25], [1, 0]], np.float32), (2, -4)).tolist() == [0, 2]


def test_a_row_does_not_depend_on_the_others():
    rows = np.random.default_rng(0).random((1001, 6), np.float32)
    weights = (3.0, 0.7, 0.1, -2.3, 1e-3, 5.5)
    alone = [utility(row[None], weights)[0] for row in rows]
    assert utility(rows, weights).tolist() == alone


def test_weights_must_name_the_heads():
    assert head_weights(("a", "b"), {"b": 1, "a": 2}) == (2, 1)
    for wrong in ({"a": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": float("nan")}):
        with pytest.raises(ValueError, match="wanted a finite one for each of a, b"):
            head_weights(("a", "b"), wrong)
    with pytest.raises(ValueError, match="wanted one column per weight"):
        utility(np.zeros((2, 3), np.float32), (1, 2))
