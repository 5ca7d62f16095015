"""Where impressions are logged, a head's number becomes the probability that it is called."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import NoSessions
from rankstream.models.ranker.calibration import MIN_EACH, MIN_SLOPE, calibrate, held_out, platt_scaling, sigmoid
from rankstream.models.ranker.examples import RankingExample, inputs_of
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.ranker.impressions import impression_examples
from rankstream.models.ranker.joined import JoinedRequests
from tests.builders.models import a_random_log, an_item_table
from tests.builders.ranker import a_config, a_ranker

SIZES = FeatureSizes(num_actions=4, item_dim=8, user_dim=3, session_dim=8, item_features=2)


def a_world(slope: float, intercept: float, users: int = 60) -> tuple[HybridRanker, OfflineFeatures, list]:
    """Requests in order of time, whose labels come as often as ``sigmoid(slope * logit + intercept)`` of a ranker."""
    items = an_item_table()
    features = ItemTable(items.ids, items.vectors[:, :2])
    offline = OfflineFeatures(SIZES, items, features, NoVectors(3), NoSessions(8))
    ranker, rng = a_ranker(a_config(SIZES), spread=0.17), np.random.default_rng(0)
    found = impression_examples(a_random_log(users, 30, 30), {"save": ("save",), "hide": ("hide",)}, offline)
    examples = sorted(found, key=lambda one: one.now_ms)
    rows = held_out(ranker, JoinedRequests.of(examples, offline))
    drawn = rng.random(rows.logits.shape) < sigmoid(slope * rows.logits + intercept)
    labels = np.split(drawn.astype(np.float32), np.flatnonzero(np.diff(rows.requests)) + 1)
    return ranker, offline, [replace(one, labels=those) for one, those in zip(examples, labels, strict=True)]


def scores_of(ranker: HybridRanker, example: RankingExample, offline: OfflineFeatures) -> np.ndarray:
    return ranker.probabilities(inputs_of(example, offline)).numpy()


def test_a_head_says_afterwards_what_came():
    """Labels are less certain than the ranker says, and more often positive."""
    ranker, offline, examples = a_world(slope=0.4, intercept=0.5, users=120)
    some = examples[::10]
    before = [scores_of(ranker, one, offline) for one in some]
    found = calibrate(ranker, JoinedRequests.of(examples, offline))
    for head in ("save", "hide"):
        one = found[head]
        assert one.slope == pytest.approx(0.4, abs=0.15)
        assert one.intercept == pytest.approx(0.5, abs=0.1)
        assert one.after.calibration_error < 0.05 < one.before.calibration_error
        assert one.before.low <= one.before.calibration_error <= one.before.high
        assert one.after.log_loss < one.before.log_loss
        assert abs(one.after.predicted_rate - one.observed_rate) < 0.03
    for scores, example in zip(before, some, strict=True):
        after = scores_of(ranker, example, offline)
        for column, head in enumerate(("save", "hide")):
            logits = np.log(scores[:, column]) - np.log1p(-scores[:, column])
            expected = sigmoid(found[head].slope * logits + found[head].intercept)
            np.testing.assert_allclose(after[:, column], expected, atol=2e-6)
            assert np.argsort(after[:, column]).tolist() == np.argsort(scores[:, column]).tolist()


def test_a_head_with_few_positives_stays_a_score():
    ranker, offline, examples = a_world(slope=1.0, intercept=0.0)
    rare = [replace(one, labels=one.labels * np.float32([1, number % 60 == 0])) for number, one in enumerate(examples)]
    assert 0 < sum(one.labels[:, 1].sum() for one in rare) < 2 * MIN_EACH
    weights = ranker.output.weight.detach().clone()
    assert set(calibrate(ranker, JoinedRequests.of(rare, offline))) == {"save"}
    assert ranker.output.weight[1].equal(weights[1])
    assert not ranker.output.weight[0].equal(weights[0])
    assert calibrate(ranker, JoinedRequests.of([], offline)) == {}


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.2, -3.0), (4.0, 2.0), (0.5, 1.5)])
def test_the_scaling_of_a_known_distortion_is_found(slope, intercept):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(4_000) * 1.5
    found = platt_scaling(logits, rng.random(4_000) < sigmoid(slope * logits + intercept))
    assert found == pytest.approx((slope, intercept), abs=0.12 * (1 + slope + abs(intercept)))


@pytest.mark.parametrize("sign", [1, -1])
def test_separable_labels_have_a_finite_scaling_and_no_order_is_ever_turned(sign):
    logits = np.linspace(-3, 3, 200)
    slope, intercept = platt_scaling(logits, sign * logits > 0)
    assert np.isfinite([slope, intercept]).all()
    assert slope > 1 if sign > 0 else slope == MIN_SLOPE
    assert sigmoid(slope * logits + intercept).mean() == pytest.approx(0.5, abs=0.02)
