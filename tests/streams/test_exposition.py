"""Prometheus's text format, as its own parser reads it."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rankstream.streams.codec import REASONS
from rankstream.streams.counters import Counters
from rankstream.streams.exposition import Exposition, Kind, Watched
from rankstream.streams.histogram import Histogram
from rankstream.streams.pipeline_metrics import PIPELINE_METRICS
from tests.builders.pages import ROOT


def scraped(*table: Watched[int], look: int = 7) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = Exposition(table, lambda: look).text().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}


def test_what_is_read_is_what_is_shown():
    found = scraped(
        Watched("a_total", Kind.COUNTER, "A.", lambda look: {("x", "1"): look, ("y", "2"): 0}, ("one", "two")),
        Watched("b_bytes", Kind.GAUGE, "B.", lambda look: look / 2),
    )
    assert found[("a_total", (("one", "x"), ("two", "1")))] == 7
    assert found[("a_total", (("one", "y"), ("two", "2")))] == 0
    assert found[("b_bytes", ())] == 3.5


def test_a_histogram_has_buckets_that_rise_a_sum_and_a_count():
    took = Histogram((0.1, 1.0))
    for value in (0.05, 0.5, 5.0):
        took.observe(value)
    found = scraped(Watched("took_seconds", Kind.HISTOGRAM, "Took.", lambda look: {"join": took}, ("stage",)))
    buckets = [found[("took_seconds_bucket", (("le", le), ("stage", "join")))] for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [1, 2, 3]
    assert found[("took_seconds_count", (("stage", "join"),))] == 3
    assert found[("took_seconds_sum", (("stage", "join"),))] == 5.55


def test_what_is_not_known_now_has_no_sample_and_the_process_is_shown_beside():
    found = scraped(Watched("c", Kind.GAUGE, "C.", lambda look: None))
    assert not any(name == "c" for name, _ in found)
    assert found[("process_resident_memory_bytes", ())] > 10e6


def test_a_table_that_names_the_wrong_kind_is_found_out():
    with pytest.raises(TypeError, match="a histogram came where a number was wanted"):
        scraped(Watched("d", Kind.GAUGE, "D.", lambda look: Histogram((1.0,))))


def test_dead_letters_of_every_reason_stand_at_0_before_the_first():
    """A series that begins at 1 shows no rise: an alert on the first letter that names it would never come."""
    (letters,) = [one for one in PIPELINE_METRICS if one.name == "rankstream_dead_letters_total"]
    seen = Counters()
    seen.reject("killed-worker")
    counted = letters.read(seen)
    assert counted == dict.fromkeys(REASONS, 0) | {"killed-worker": 1}


def test_the_reasons_are_those_that_the_docs_explain():
    table = (ROOT / "docs" / "topics.md").read_text().split("\n## dead-letters\n")[1].split("\n\n## ")[0]
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == sorted(REASONS)
