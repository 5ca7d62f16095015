"""The command on files as it finds them: what it prints, how it ends, and what it refuses."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.builders.cli import NO_BROKER, rankstream, refusal
from tests.builders.exploration import the_explored


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return the_explored().write(tmp_path_factory.mktemp("served"))


def monitor(served, *more):
    feeds, actions = served
    return rankstream("monitor", "--feeds", feeds, "--actions", actions, *more)


def test_the_numbers_are_those_of_the_actions(served):
    report = json.loads(monitor(served, "--take", "save", "--within", "10s", "--json").stdout)
    assert sum(one["feeds"] for one in report["windows"]) + sum(report["skipped"].values()) == 900
    taken = sum(one["rate"]["part"] for one in report["windows"])
    assert 0 < taken <= sum(one["rate"]["whole"] for one in report["windows"])
    assert report["by_model"][0]["rate"]["part"] == taken


def test_metrics_are_written_beside_and_are_those_of_the_newest_window(served, tmp_path):
    path = tmp_path / "feeds.prom"
    report = json.loads(monitor(served, "--take", "save", "--within", "10s", "--json", "--metrics", path).stdout)
    families = text_string_to_metric_families(path.read_text())
    found = {one.name: one.value for family in families for one in family.samples}
    newest = report["windows"][-1]
    assert found["rankstream_monitor_feeds"] == newest["feeds"]
    assert found["rankstream_monitor_hit_ratio"] == newest["hit"]["value"]
    assert found["rankstream_monitor_window_timestamp_seconds"] * 1000 == newest["from_ms"]
    assert found["rankstream_monitor_unknown_items_per_feed"] == newest["unknown"]["value"]
    assert found["rankstream_monitor_newest_action_age_seconds"] * 1000 == newest["median_age_ms"]
    assert found["rankstream_monitor_model_hit_ratio"] == report["by_model"][0]["hit"]["value"]
    assert found["rankstream_monitor_source_taken_positions_ratio"] == report["by_source"][-1]["rate"]["value"]
    assert "rankstream_monitor_sample_ratio_p_value" not in found
    assert list(tmp_path.iterdir()) == [path]


def test_people_see_windows_and_that_nothing_changed(served):
    shown = monitor(served, "--take", "save", "--within", "10s").stdout
    assert "by window" in shown
    assert "no alerts" in shown


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--take", "buy"], "no action named buy, only"),
        (["--take", "save", "--every", "soon"], "--every: 'soon' is no delay"),
        (["--take", "save", "--within", "0s"], "--within is 0s; wanted a time after the feed"),
        (["--take", "save", "--within", "10s", "--metrics", "/nowhere/feeds.prom"], "can't be written: No such file"),
        (["--take", "save", "--within", "900d"], "less than --within before the newest record"),
    ],
)
def test_what_will_not_do_is_refused_in_one_sentence(served, more, words):
    assert words in refusal(monitor(served, *more))


def test_without_a_broker_it_says_so():
    assert "no Kafka broker answers" in refusal(
        rankstream("monitor", "--take", "save", "--bootstrap-servers", NO_BROKER)
    )
