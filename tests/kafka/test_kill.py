"""kill -9 in the middle of work, again and again: nothing is lost, nothing counts twice."""

import asyncio
import random
import shutil
import time
from dataclasses import replace
from importlib.util import find_spec

import pytest

from rankstream.streams.topics import ACTIONS, REQUESTS
from rankstream.streams.worker.fence import brokers_fence
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ACTIONS_SENT, REQUESTS_SENT = 10_000, 300
SLOW = {"SLOW_MS": "60"}  # a chunk of 100: 1,600 actions a second
ENGINES = ("auto", "plain", "auto")  # of one worker and its heirs: auto is the compiled one where numba is installed
AUTO = "compiled" if find_spec("numba") else "plain"


def load(bench: Bench) -> None:
    bench.create_topics()
    bench.send_actions(ACTIONS_SENT, bad_every=97)
    bench.send_requests(REQUESTS_SENT)


def wait_for_the_middle(bench: Bench, more_than: int) -> None:
    """Wait until work goes on, and a time that no checkpoint determines."""
    bench.wait_committed(more_than + 1, ACTIONS)
    time.sleep(random.random() * 0.5)


def assert_nothing_lost_or_doubled(bench: Bench, *states: str) -> None:
    bench.wait_committed(ACTIONS_SENT + REQUESTS_SENT)
    for worker in bench.workers:
        if worker.process.poll() is None:
            assert worker.terminate() == 0
    assert bench.states(*states) == bench.expected_states()
    assert set(bench.feeds()) == {f"r{number}" for number in range(REQUESTS_SENT)}
    assert set(bench.dead_letters()) == bench.bad_records()
    if asyncio.run(brokers_fence(bench.settings)):
        assert bench.dead_letters().total() == len(bench.bad_records()), "in a transaction a dead letter counts once"


def test_a_worker_killed_twice_ends_with_the_state_of_one_that_was_not(bench):
    load(bench)
    done = 0
    for engine in ENGINES[:2]:
        worker = bench.worker(RANKSTREAM_ENGINE=engine, **SLOW)
        worker.wait_ready()
        wait_for_the_middle(bench, done)
        worker.kill()
        done = bench.committed(ACTIONS)
        assert done < ACTIONS_SENT, "no work remained at the kill, so nothing was tested"
    heir = bench.worker(RANKSTREAM_ENGINE=ENGINES[2])
    assert_nothing_lost_or_doubled(bench)
    assert f"applied by the {AUTO} engine" in heir.log


def test_killed_between_acknowledgement_and_store_nothing_is_lost(bench):
    load(bench)
    worker = bench.worker(STALL_MS="300", RANKSTREAM_ENGINE="auto", **SLOW)
    worker.wait_ready()
    time.sleep(1.5)
    worker.kill()
    assert bench.committed(ACTIONS) < ACTIONS_SENT
    bench.worker()
    assert_nothing_lost_or_doubled(bench)


def test_a_lost_state_folder_is_restored_from_the_changelog(bench):
    load(bench)
    for engine in ENGINES[:2]:
        worker = bench.worker(RANKSTREAM_ENGINE=engine, **SLOW)
        worker.wait_ready()
        wait_for_the_middle(bench, bench.committed(ACTIONS))
        worker.kill()
        assert bench.committed(ACTIONS) < ACTIONS_SENT
        shutil.rmtree(bench.folder / "state")
    heir = bench.worker(RANKSTREAM_ENGINE=ENGINES[2])
    assert_nothing_lost_or_doubled(bench)
    assert "restored" in heir.log


def test_of_two_workers_with_folders_of_their_own_one_is_killed(bench):
    load(bench)
    one = bench.worker("A", "state-a", **SLOW)
    two = bench.worker("B", "state-b", RANKSTREAM_ENGINE="auto", **SLOW)
    one.wait_ready()
    two.wait_ready()
    wait_for_the_middle(bench, bench.committed(ACTIONS))
    ready = two.times_ready
    one.kill()
    assert bench.committed(ACTIONS) < ACTIONS_SENT
    killed_at = time.monotonic()
    two.wait_ready(ready + 1)
    print(f"took over in {time.monotonic() - killed_at:.1f} s")
    back = bench.worker("A", "state-a", **SLOW)
    back.wait_ready()
    assert_nothing_lost_or_doubled(bench, "state-a", "state-b")


def test_with_transactional_feeds_each_request_is_answered_exactly_once_whatever_is_killed(bench, broker):
    if not broker.is_kafka:
        pytest.skip("the embedded broker knows no transactions")
    bench.settings = replace(bench.settings, feed_delivery="transactional")
    bench.create_topics()
    asked = 0
    for _ in range(3):
        worker = bench.worker()
        worker.wait_ready()
        for _ in range(20):
            bench.send_requests(25, start=asked)
            asked += 25
            time.sleep(random.random() * 0.1)
        worker.kill()
    bench.worker().wait_ready()  # what the others have committed is no sign of it
    bench.wait_committed(asked, REQUESTS)
    assert bench.workers[-1].terminate() == 0
    assert bench.feeds() == {f"r{number}": 1 for number in range(asked)}
