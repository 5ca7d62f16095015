"""Brokers that stop to answer are told of once, each minute, and when they are back."""

import asyncio
import logging

import pytest

from rankstream.streams.broker_watch import BrokerWatch


class AClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def looks(caplog, answers: list[object], every_s: float = 1.0) -> tuple[BrokerWatch, list[str]]:
    """Look once for each of the answers, an error among them; return the watch and the log."""
    clock, coming = AClock(), iter(answers)

    async def is_answered() -> bool:
        answer = next(coming)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    async def story() -> BrokerWatch:
        watch = BrokerWatch("kafka:9092", is_answered, clock=clock)
        for _ in answers:
            await watch.look()
            clock.now += every_s
        return watch

    with caplog.at_level(logging.INFO, "rankstream.streams.broker_watch"):
        return asyncio.run(story()), [record.getMessage() for record in caplog.records]


def test_an_outage_of_two_minutes_is_four_lines(caplog):
    watch, lines = looks(caplog, [True] + [False] * 130 + [True] * 5)
    assert lines == [
        "no Kafka broker answers at kafka:9092",
        "no Kafka broker answers at kafka:9092, for 61 s",
        "no Kafka broker answers at kafka:9092, for 121 s",
        "a broker answers again, after 131 s",
    ]
    assert (watch.down, watch.outages) == (None, 1)


@pytest.mark.parametrize("broken", [ConnectionRefusedError(), TimeoutError()])
def test_whatever_a_look_meets_is_no_answer(caplog, broken):
    watch, _ = looks(caplog, [True, broken, broken])
    assert watch.down == "no Kafka broker answers at kafka:9092"
    assert watch.age_s == 3


def test_brokers_that_answer_are_not_told_of(caplog):
    watch, lines = looks(caplog, [True] * 9)
    assert (lines, watch.age_s, watch.outages) == ([], 1, 0)
