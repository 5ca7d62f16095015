"""What a worker shows to Prometheus: what was counted, also by partitions that have left, and what it has now."""

import asyncio
import re

import pytest
from faust.types import TP
from prometheus_client.parser import text_string_to_metric_families

from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.telemetry import GATEWAY_METRICS, SHOWN_BY_GATEWAYS
from rankstream.streams.clients.throttling import Throttling
from rankstream.streams.exposition import Kind
from rankstream.streams.settings import Settings
from rankstream.streams.worker.backpressure import Pressure
from rankstream.streams.worker.changelog import RestoreJob
from rankstream.streams.worker.observer import Observer
from rankstream.streams.worker.offsets import Bounds
from rankstream.streams.worker.telemetry import WORKER_METRICS
from tests.builders.actions import SomeLiveRanker, an_event
from tests.builders.partition import a_partition
from tests.streams.worker.test_ownership import Commits, an_ownership

ENDS = {"user-actions": 50, "ranking-requests": None}


def an_observer(throttling: Throttling | None = None) -> Observer:
    pressure = Pressure(10, lambda: None, lambda: [])
    return Observer(Settings(), SomeLiveRanker(), pressure, lambda tp: ENDS[tp.topic], throttling)


def scraped(observer: Observer) -> dict[str, float]:
    """Samples by name and label values, in the order of the labels' names: `rankstream_lag_records 0 user-actions`."""
    text = observer.metrics().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {" ".join([one.name, *one.labels.values()]): one.value for one in samples}


def test_what_was_counted_does_not_fall_when_a_partition_leaves():
    async def story():
        observer = an_observer()
        observer.ownership = owner = an_ownership()
        owner.partitions = {0: a_partition(0), 1: a_partition(1)}
        for number, one in owner.partitions.items():
            one.pipeline.on_actions([an_event(f"u{user}", offset=user) for user in range(3 + number)])
        before = scraped(observer)
        await owner.revoke([1], Commits())
        after = scraped(observer)
        assert before["rankstream_actions_total applied"] == after["rankstream_actions_total applied"] == 7
        assert (before["rankstream_partitions"], after["rankstream_partitions"]) == (2, 1)
        assert (before["rankstream_users_cached"], after["rankstream_users_cached"]) == (7, 3)

    asyncio.run(story())


def test_lag_is_how_far_a_cursor_is_behind_the_end_where_that_is_known():
    observer = an_observer()
    observer.ownership = an_ownership()
    observer.ownership.partitions = {3: a_partition(3, actions=42)}
    found = scraped(observer)
    assert found["rankstream_lag_records 3 user-actions"] == 8
    assert "rankstream_lag_records 3 ranking-requests" not in found


def test_a_worker_that_is_held_back_by_a_quota_has_a_broker_and_shows_for_how_long():
    throttling = Throttling()
    observer = an_observer(throttling)  # without a producer, so nobody answers it
    asyncio.run(observer.broker.look())
    assert "no Kafka broker answers" in observer.broker.down
    throttling.note(90_000, "shop")
    asyncio.run(observer.broker.look())
    assert observer.broker.down is None
    assert scraped(observer)["rankstream_broker_throttle_seconds_total"] == 90


def test_a_restore_under_way_shows_what_is_read_and_what_remains():
    observer = an_observer()
    observer.ownership = owner = an_ownership()
    job = RestoreJob(TP("user-state-changelog", 2), MemoryStore(), Bounds(10, 110))
    job.read_to = 35
    owner._opener.numbers, owner._opener.restoring = [2], [job]
    found = scraped(observer)
    assert (found["rankstream_restored_records 2"], found["rankstream_restore_remaining_records 2"]) == (25, 75)
    assert (found["rankstream_partitions_opening"], found["rankstream_ready"]) == (1, 0)


def test_the_line_of_figures_has_rates_since_the_last_one():
    observer = an_observer()
    observer.ownership = an_ownership()
    observer.ownership.partitions = {0: a_partition(0, actions=42)}
    observer.figures_line()
    pipeline = observer.ownership.partitions[0].pipeline
    pipeline.on_actions([an_event(f"u{user}", offset=user) for user in range(9)])
    line, numbers = observer.figures_line()
    assert (numbers["actions"], numbers["lag_records"], numbers["partitions"]) == (9, 8, 1)
    assert numbers["actions_per_s"] > 0
    assert line.startswith("partitions 1, actions 9, actions_per_s ")
    assert observer.figures_line()[1]["actions_per_s"] == 0


def test_a_worker_that_has_not_started_shows_all_that_needs_no_partition():
    found = scraped(an_observer())
    assert found["rankstream_actions_total applied"] == found["rankstream_partitions"] == 0
    assert found["rankstream_request_seconds_count score"] == 0


@pytest.mark.parametrize("table", [WORKER_METRICS, SHOWN_BY_GATEWAYS], ids=["worker", "gateway"])
def test_names_follow_prometheus_and_each_metric_says_what_it_is(table):
    names = [one.name for one in table]
    assert len(set(names)) == len(names)
    for one in table:
        assert re.fullmatch(r"rankstream_[a-z_]+", one.name)
        assert (one.kind is Kind.COUNTER) == one.name.endswith("_total")
        assert one.kind is not Kind.HISTOGRAM or one.name.endswith("_seconds")
        assert one.help.endswith(".")


def test_gateways_and_workers_share_no_name_but_those_of_pipelines():
    assert {one.name for one in GATEWAY_METRICS}.isdisjoint(one.name for one in WORKER_METRICS)
