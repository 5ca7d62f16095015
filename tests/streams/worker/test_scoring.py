"""Where requests are scored: quick ones on the event loop, all others in a thread."""

import asyncio
import threading
from dataclasses import dataclass

import pytest

from rankstream.streams.worker.scoring import ON_LOOP_S, Expected, Scoring

QUICK_S, SLOW_S = ON_LOOP_S / 5, ON_LOOP_S * 2


@dataclass
class SomeRequests:
    """Requests that keep the core busy for so long, and tell in which thread."""

    seconds: float
    num_candidates: int = 100
    count: int = 1

    @property
    def requests(self) -> list[None]:
        return [None] * self.count

    def answer(self) -> list[str]:
        return [threading.current_thread().name]


@pytest.fixture
def busy(monkeypatch):
    """Have requests take what they say, by the clock of CPU time."""
    monkeypatch.setattr(
        "rankstream.streams.worker.scoring.timed", lambda pending: (pending.answer(), pending.seconds * pending.count)
    )


def threads_of(*many: SomeRequests, threads: int = 1, waiting: int = 1) -> list[str]:
    """Score them one after the other; say of each whether it was the loop or a thread."""

    async def story() -> list[str]:
        scoring = Scoring(threads, lambda: waiting)
        try:
            return [(await scoring.run(each))[0] for each in many]
        finally:
            scoring.close()

    return ["thread" if name.startswith("scoring") else "loop" for name in asyncio.run(story())]


@pytest.mark.usefixtures("busy")
def test_the_first_request_is_scored_in_a_thread_and_those_behind_a_quick_one_on_the_loop():
    assert threads_of(*[SomeRequests(QUICK_S)] * 3) == ["thread", "loop", "loop"]


@pytest.mark.usefixtures("busy")
def test_slow_requests_are_scored_in_a_thread():
    assert threads_of(*[SomeRequests(SLOW_S)] * 3) == ["thread"] * 3


@pytest.mark.usefixtures("busy")
def test_requests_that_grow_slow_leave_the_loop_and_come_back_when_they_are_quick_again():
    where = threads_of(*[SomeRequests(QUICK_S)] * 2, *[SomeRequests(SLOW_S)] * 9, *[SomeRequests(QUICK_S)] * 9)
    assert where[:3] == ["thread", "loop", "loop"]  # the first slow one was not known to be slow
    assert where[8:11] == ["thread"] * 3
    assert where[-1] == "loop"


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(
    "larger", [SomeRequests(QUICK_S, num_candidates=1_000), SomeRequests(QUICK_S, num_candidates=1_000, count=10)]
)
def test_what_is_larger_than_those_before_is_expected_to_take_longer_in_proportion(larger):
    assert threads_of(SomeRequests(QUICK_S), larger) == ["thread", "thread"]


@pytest.mark.usefixtures("busy")
def test_while_many_wait_the_loop_is_left_to_what_else_there_is():
    assert threads_of(*[SomeRequests(QUICK_S)] * 2, waiting=9) == ["thread"] * 2


@pytest.mark.usefixtures("busy")
def test_with_several_scoring_threads_nothing_is_scored_on_the_loop():
    assert threads_of(*[SomeRequests(QUICK_S)] * 2, threads=2) == ["thread"] * 2


def test_what_is_smaller_than_those_before_is_expected_to_take_as_long():
    expected = Expected()
    expected.took(0.004, 2, 200)
    assert expected.seconds(1, 100) == expected.seconds(1, 10) == 0.002
    assert expected.seconds(1, 300) == pytest.approx(0.006)
    assert expected.seconds(3, 900) == pytest.approx(0.018)
