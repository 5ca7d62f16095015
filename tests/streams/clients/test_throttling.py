"""What brokers say of quotas in their answers: how long they read nothing."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from rankstream.streams.clients.throttling import Throttling


class AClient:
    """A client of aiokafka whose brokers hold it back for so long after each request."""

    _client_id = "shop"

    def __init__(self, throttle_ms: int) -> None:
        self.throttle_ms = throttle_ms

    async def send(self, node_id: int, request: object, **options: Any) -> object:
        return SimpleNamespace(throttle_time_ms=self.throttle_ms, sent=request)


def after(answers: int, throttle_ms: int, now: list[float]) -> Throttling:
    """Return what is known after so many answers."""
    throttling, client = Throttling(clock=lambda: now[0]), AClient(throttle_ms)
    throttling.watch(client)
    for number in range(answers):
        assert asyncio.run(client.send(1, number)).sent == number
    return throttling


def test_a_client_within_its_quota_is_not_held_back(caplog):
    throttling = after(answers=3, throttle_ms=0, now=[100.0])
    assert (throttling.total_s, throttling.holds_back, caplog.text) == (0, False, "")


def test_a_client_beyond_it_is_held_back_until_the_time_that_the_broker_said():
    now = [100.0]
    throttling = after(answers=2, throttle_ms=1_500, now=now)
    assert (throttling.total_s, throttling.holds_back) == (3.0, True)
    now[0] = 101.6
    assert not throttling.holds_back


def test_the_log_names_the_client_once_a_minute(caplog):
    caplog.set_level(logging.WARNING)
    now = [100.0]
    throttling = after(answers=5, throttle_ms=1_500, now=now)
    now[0] = 161.0
    throttling.note(500, "shop")
    first, second = caplog.messages
    assert "reads nothing from this process for 1.5 s, 1.5 s in all so far: the client_id shop or its user" in first
    assert "for 0.5 s, 8.0 s in all" in second


def test_answers_of_older_versions_say_nothing():
    throttling, client = Throttling(), AClient(0)
    client.send = lambda node_id, request: asyncio.sleep(0, SimpleNamespace())
    throttling.watch(client)
    asyncio.run(client.send(1, "x"))
    assert throttling.total_s == 0


def test_who_is_held_back_is_waited_for_so_much_longer():
    async def story() -> bool:
        throttling = Throttling()
        async with throttling.answered_within(0.05):
            await asyncio.to_thread(throttling.note, 200, "shop")  # heard in another thread, as Faust's consumer does
            await asyncio.sleep(0.1)
        return True

    assert asyncio.run(story())


def test_once_it_is_not_held_back_any_more_the_time_runs_as_ever():
    async def story() -> None:
        throttling = Throttling()
        async with throttling.answered_within(0.02):
            throttling.note(20, "shop")
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(story())


def test_what_is_over_is_not_waited_for_again():
    async def story() -> bool:
        throttling = Throttling()
        async with throttling.answered_within(10.0):
            pass
        throttling.note(20, "shop")
        await asyncio.sleep(0.01)
        return not throttling._patiences

    assert asyncio.run(story())
