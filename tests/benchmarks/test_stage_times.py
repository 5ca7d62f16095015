"""What a benchmark makes of two looks at a worker's metrics."""

import pytest

from benchmarks.stage_times import StageTime, actions_of, quantile, stage_times
from rankstream.streams.counters import Counters
from rankstream.streams.exposition import text_of
from rankstream.streams.pipeline_metrics import PIPELINE_METRICS


def page(counters: Counters) -> str:
    return text_of(PIPELINE_METRICS, counters).decode()


def test_a_stage_is_what_was_observed_between_two_pages():
    counters = Counters()
    counters.stage_s["score"].observe(3.0)
    before = page(counters)
    for _ in range(3):
        counters.stage_s["score"].observe(0.002)
    counters.stage_s["join"].observe(0.004)
    found = {one.name: one for one in stage_times(before, page(counters))}
    assert found["score"] == StageTime("score", pytest.approx(2.0), pytest.approx(2.485))  # of the bucket from 1 to 2.5
    assert found["join"].mean_ms == pytest.approx(4.0)
    assert (found["blend"].mean_ms, found["blend"].p99_ms) == (0.0, 0.0)


def test_a_quantile_lies_where_its_share_of_a_bucket_is():
    buckets = {0.001: 50.0, 0.01: 90.0, float("inf"): 100.0}
    assert quantile(buckets, 0.25) == pytest.approx(0.0005)
    assert quantile(buckets, 0.7) == pytest.approx(0.0055)
    assert quantile(buckets, 0.99) == 0.01  # above all bounds: no more is known
    assert quantile({}, 0.5) == 0.0


def test_actions_are_counted_whatever_became_of_them():
    assert actions_of(page(Counters(actions=5, late=2, duplicates=3))) == 8
