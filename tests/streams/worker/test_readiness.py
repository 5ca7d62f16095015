"""What keeps a worker from its work, in words, and a worker that nothing keeps from it."""

import asyncio
from typing import Any

import pytest

from rankstream.streams.heartbeat import EVERY_S, Heartbeat
from rankstream.streams.worker.readiness import Restoring, why_not_ready
from tests.streams.test_broker_watch import AClock
from tests.streams.worker.test_telemetry import an_observer, an_ownership

READY: dict[str, Any] = {
    "has_joined": True,
    "leaving": False,
    "opening": [],
    "restoring": [],
    "abandoned": False,
    "broker_age_s": 1.0,
    "session_timeout_s": 6.0,
    "down": None,
}


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        ({"leaving": True, "has_joined": False, "broker_age_s": 99.0}, "it was asked to end"),
        ({"has_joined": False}, "it has not joined its group yet"),
        ({"has_joined": False, "opening": [1, 3]}, "it opens the partitions 1, 3"),
        (
            {"opening": [1, 3], "restoring": [Restoring(1, 500, 1_500), Restoring(3, 500, 0)]},
            "it restores the partitions 1, 3: 1,000 of 2,500 records, 40 %",
        ),
        (
            {"registry_away": "http://registry:8081 does not answer"},
            "records wait for a schema: http://registry:8081 does not answer",
        ),
        ({"abandoned": True}, "its partitions may belong to another worker, so it ends"),
        (
            {"broker_age_s": 6.5, "down": "no Kafka broker answers at kafka:9092"},
            "no Kafka broker answers at kafka:9092, for 6 s, so others may have its partitions",
        ),
    ],
)
def test_each_thing_that_is_missing_has_its_sentence(differs, reason):
    assert why_not_ready(**READY | differs) == [reason]


def test_brokers_that_are_away_for_less_than_a_session_are_no_reason():
    assert why_not_ready(**READY | {"broker_age_s": 5.9, "down": "no Kafka broker answers"}) == []


def test_a_worker_that_has_not_started_is_not_ready_and_one_that_has_joined_is():
    observer = an_observer()
    assert observer.readiness().reasons == ["it has not joined its group yet"]
    observer.ownership, observer.has_joined = an_ownership(), True
    found = observer.readiness()
    assert (found.ready, found.group, list(found.partitions)) == (True, "rankstream", [])


def test_a_loop_that_stands_still_is_not_live_and_its_delay_is_counted():
    clock = AClock()
    heart = Heartbeat(clock)
    clock.now += EVERY_S
    heart.beat()
    assert (heart.is_live, heart.delay_s.sum) == (True, 0)
    clock.now += 12
    assert not heart.is_live
    heart.beat()
    assert heart.is_live
    assert heart.delay_s.sum == pytest.approx(12 - EVERY_S)


def test_a_loop_that_turns_beats():
    async def story():
        heart = Heartbeat()
        beating = asyncio.create_task(heart.keep_beating())
        await asyncio.sleep(3 * EVERY_S)
        beating.cancel()
        return heart

    assert asyncio.run(story()).delay_s.count >= 1
