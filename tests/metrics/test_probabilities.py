import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.metrics.probabilities import auc, calibration_error, log_loss


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs_in_order_also_when_rows_count_several_times(rows):
    scores = np.array([score for score, _, _ in rows], float)
    labels = np.array([label for _, label, _ in rows])
    weights = np.array([weight for _, _, weight in rows], float)
    pairs = [
        ((scores[a] > scores[b]) + 0.5 * (scores[a] == scores[b]), weights[a] * weights[b])
        for a in np.flatnonzero(labels)
        for b in np.flatnonzero(~labels)
    ]
    total = sum(weight for _, weight in pairs)
    expected = sum(won * weight for won, weight in pairs) / total if total else np.nan
    assert auc(scores, labels, weights) == pytest.approx(expected, nan_ok=True)


def test_probabilities_that_come_true_have_no_calibration_error():
    rng = np.random.default_rng(0)
    predicted = rng.random(200_000)
    labels = rng.random(200_000) < predicted
    assert calibration_error(predicted, labels) < 0.01
    assert calibration_error(np.full(200_000, 0.9), labels) == pytest.approx(0.4, abs=0.01)
    assert log_loss(predicted, labels).mean() < log_loss(np.full(200_000, 0.5), labels).mean()
