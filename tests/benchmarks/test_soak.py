"""The verdict of a soak: on lines of known slope, and on memory that only fills up."""

import numpy as np
import pytest

from benchmarks.soak import MB, Sample, Soak, draw, slope_of, student_t, table

MINUTES = 15


def a_soak(megabytes, **figures: float) -> Soak:
    """A soak whose memory in MB is a function of the minutes."""
    rng = np.random.default_rng(0)
    fields = {
        "block_cache_bytes": 50 * MB, "memtable_bytes": 40 * MB, "table_reader_bytes": MB, "python_bytes": None,
        "descriptors": 80, "threads": 9, "cached_users": 1_000, "changed_users": 10, "checkpoint_age_s": 0.5,
    } | figures  # fmt: skip
    samples = [
        Sample(second, 12.0, 40.0, fields | {"resident_bytes": (megabytes(second / 60) + rng.normal(0, 0.5)) * MB})
        for second in range(1, 60 * MINUTES)
    ]
    return Soak(0.7, 300.0, samples)


def test_a_leak_is_seen_with_its_size():
    soak = a_soak(lambda minutes: 150 + 2 * minutes)
    found = soak.slope(lambda one: one.mb("resident_bytes"))
    assert found.low < 120 < found.high
    assert found.high - found.low < 10
    assert not soak.is_flat


def test_memory_that_fills_up_and_stays_is_flat():
    soak = a_soak(lambda minutes: 150 + min(60, 20 * minutes))
    assert soak.is_flat


def test_a_step_in_the_second_half_is_not_flat():
    assert not a_soak(lambda minutes: 150 + 20 * (minutes > 11)).is_flat


def test_too_short_a_time_says_nothing():
    assert slope_of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None
    assert not Soak(0.7).is_flat


@pytest.mark.parametrize(("freedom", "wanted"), [(6, 2.447), (10, 2.228), (28, 2.048), (1_000, 1.962)])
def test_the_percentile_of_students_t(freedom, wanted):
    assert student_t(freedom) == pytest.approx(wanted, rel=0.01)


def test_table_and_plot_show_the_parts_and_the_verdict(tmp_path):
    soak = a_soak(lambda minutes: 200)
    assert "memory: flat (flat is below 30 MB an hour)" in table(soak)
    assert "python, MB" not in table(soak)  # it was not traced
    draw(soak, tmp_path / "soak.svg")
    svg = (tmp_path / "soak.svg").read_text()
    for words in ("resident", "block_cache", "descriptors", "p99_ms", "300 requests/s: flat"):
        assert words in svg
