"""A record that ends the process, not by an exception: after a few deaths it is passed over, and all others count."""

import json

import pytest

from rankstream.features.user_state import unpack_state
from rankstream.streams.topics import ACTIONS, DEAD_LETTERS, REQUESTS
from tests.builders.actions import MORNING_MS
from tests.kafka.harness import Bench, Worker, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

POISON = "the record that kills"
ENGINES = ("auto", "plain")  # in turns: auto is the compiled one where numba is installed
DEATHS = 3  # with the chunk in hand, then twice with the record alone


def lives(worker: Worker, bench: Bench, records: int) -> bool:
    """Wait until it has died, or so many records are committed."""
    wait_until(lambda: worker.process.poll() is not None or bench.committed() >= records, "it dies or commits")
    return worker.process.poll() is None


def workers_until_one_lives(bench: Bench, records: int) -> list[Worker]:
    """Start workers, each after the death of the one before, until so many records are committed."""
    started: list[Worker] = []
    while len(started) <= DEATHS + 2:
        engine = ENGINES[len(started) % len(ENGINES)]
        worker = bench.worker(static=True, DIES_OF=POISON, RANKSTREAM_ENGINE=engine)
        started.append(worker)
        if lives(worker, bench, records):
            return started
        assert worker.process.returncode == 139, worker.log[-3000:]
    raise AssertionError(f"still dying after {len(started)} workers: {started[-1].log[-3000:]}")


def dead_letters(bench: Bench) -> list[dict]:
    return [json.loads(record.value) for record in bench.read(DEAD_LETTERS)]


def test_an_action_that_kills_the_process_is_passed_over_and_no_other_is_lost(bench):
    bench.create_topics()
    for number in range(60):
        item = POISON if number == 31 else number
        event = {"user_id": "u1", "item_id": item, "action": "view", "timestamp_ms": MORNING_MS + number}
        bench.send(ACTIONS, b"u1", json.dumps(event).encode())
    bench.producer.flush()
    *_, last = started = workers_until_one_lives(bench, 60)
    assert len(started) == DEATHS + 1
    assert last.terminate() == 0
    (letter,) = dead_letters(bench)
    assert (letter["reason"], letter["offset"]) == ("killed-worker", 31)
    assert [unpack_state(state).total for state in bench.states().values()] == [59]
    assert "offset 31 killed the process 2 times: it is passed over unread" in last.log


def test_a_request_that_kills_the_process_is_passed_over_and_the_others_are_answered(bench):
    bench.create_topics()
    for number in range(10):
        request = {"request_id": f"r{number}", "user_id": "u1", "candidates": [POISON if number == 6 else 1]}
        bench.send(REQUESTS, b"u1", json.dumps(request).encode())
    bench.producer.flush()
    *_, last = started = workers_until_one_lives(bench, 10)
    assert len(started) == DEATHS + 1
    assert last.terminate() == 0
    assert {(letter["reason"], letter["offset"]) for letter in dead_letters(bench)} == {("killed-worker", 6)}
    assert bench.feeds().keys() == {f"r{number}" for number in range(10) if number != 6}
