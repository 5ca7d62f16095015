"""Several workers, and one that comes and goes: who owns what, and what it takes to take over."""

import re
import time
from dataclasses import replace

import pytest

from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench, Worker, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ASSIGNED = re.compile(r" assigned (.*)")
JOINS = "(Re-)joining group"


def owned(worker: Worker, bench: Bench) -> dict[str, set[int]]:
    """Read from the log what a worker was assigned last: the partition numbers of each topic."""
    lines = ASSIGNED.findall(worker.log)
    given: dict[str, set[int]] = {}
    for part in lines[-1].split("; ") if lines else ():
        for topic in (ACTIONS, REQUESTS):
            if part.startswith(f"{bench.names.of(topic)} "):
                given[topic.name] = {int(number) for number in part.split(" ", 1)[1].split(", ")}
    return given


def test_both_sources_of_a_partition_live_on_one_worker_through_every_rebalance(bench):
    bench.settings = replace(bench.settings, partitions=6)
    bench.create_topics()
    workers: list[Worker] = []
    for name in "ABC":
        before = [worker.times_ready for worker in workers]
        workers.append(bench.worker(name, f"state-{name}"))
        workers[-1].wait_ready()
        for worker, times in zip(workers, before, strict=False):
            worker.wait_ready(times + 1)
        shares = [owned(worker, bench) for worker in workers]
        assert all(share["user-actions"] == share["ranking-requests"] for share in shares), shares
        assert sorted(n for share in shares for n in share["user-actions"]) == list(range(6)), shares
    ready = workers[1].times_ready
    assert workers[0].terminate() == 0
    workers[1].wait_ready(ready + 1)
    wait_until(lambda: sum(len(owned(one, bench)["user-actions"]) for one in workers[1:]) == 6, "all is owned")
    shares = [owned(worker, bench) for worker in workers[1:]]
    assert all(share["user-actions"] == share["ranking-requests"] for share in shares), shares


def test_a_worker_that_is_asked_to_stop_leaves_nothing_undone_and_may_come_back(bench):
    bench.create_topics()
    bench.send_actions(6_000, bad_every=50)
    one, two = bench.worker("A", "state-a", SLOW_MS="60"), bench.worker("B", "state-b", SLOW_MS="60")
    one.wait_ready()
    two.wait_ready()
    bench.wait_committed(500, ACTIONS)
    ready, asked_at = two.times_ready, time.monotonic()
    assert one.terminate() == 0
    assert bench.committed(ACTIONS) < 6_000, "no work remained when it stopped, so nothing was tested"
    two.wait_ready(ready + 1)
    print(f"took over {time.monotonic() - asked_at:.1f} s after SIGTERM")
    bench.worker("A", "state-a").wait_ready()
    bench.wait_committed(6_000)
    assert [worker.terminate() for worker in bench.workers] == [0, 0, 0]
    assert bench.states("state-a", "state-b") == bench.expected_states()
    assert set(bench.dead_letters()) == bench.bad_records()
    assert bench.dead_letters().total() == len(bench.bad_records()), "a clean stop repeats nothing"


def test_a_clean_stop_and_start_does_nothing_twice(bench):
    bench.create_topics()
    bench.send_actions(1_000, bad_every=10)
    bench.send_requests(100)
    for more in (0, 1_000):
        bench.send_actions(more, bad_every=10, start=1_000)
        worker = bench.worker()
        bench.wait_committed(1_100 + more)
        assert worker.terminate() == 0
    assert bench.states() == bench.expected_states()
    assert bench.feeds().total() == 100
    assert bench.dead_letters().total() == len(bench.bad_records()) == 200


def test_a_killed_worker_with_a_name_of_its_own_is_back_at_once(bench, broker):
    if not broker.is_kafka:
        pytest.skip("a join of the embedded broker takes its time even so: 7.5 s instead of 12.5 s")
    bench.settings = replace(bench.settings, session_timeout_s=60.0)
    bench.create_topics()
    bench.send_actions(200)
    first = bench.worker(static=True)
    bench.wait_committed(200)
    first.kill()
    again = bench.worker(static=True)
    seconds = again.wait_ready()
    print(f"back {seconds:.1f} s after its start")
    assert seconds < 40, "static membership did not spare it the wait for the session to end"


def test_a_worker_that_stood_still_longer_than_its_session_ends_and_writes_nothing(bench):
    bench.create_topics()
    bench.send_actions(8_000)
    one = bench.worker("A", "state-a", SLOW_MS="60")
    one.wait_ready()
    bench.wait_committed(500, ACTIONS)
    one.pause()
    longer = time.monotonic() + bench.settings.session_timeout_s + 1
    two = bench.worker("B", "state-b")
    bench.wait_committed(8_000, ACTIONS)
    time.sleep(max(0.0, longer - time.monotonic()))  # on a busy machine all was committed before it stood still
    done = bench.changelog()
    one.resume()
    assert one.process.wait(PATIENCE_S) != 0
    assert "stood still" in one.log
    assert two.terminate() == 0
    assert bench.changelog() == done
    assert bench.states("state-a", "state-b") == bench.expected_states()


def test_a_worker_that_is_asked_to_end_in_a_rebalance_does_not_wait_for_it(bench, broker):
    """One who does not join holds it up for as long as a session: longer than a worker may take to end."""
    if not broker.is_kafka:
        pytest.skip("every join of the embedded broker takes half a session")
    bench.settings = replace(bench.settings, session_timeout_s=60.0)
    bench.create_topics()
    bench.send_actions(1_000)
    one, two = bench.worker("A", "state-a"), bench.worker("B", "state-b")
    one.wait_ready()
    two.wait_ready()
    bench.wait_committed(1_000, ACTIONS)
    two.pause()
    joins = one.log.count(JOINS)
    bench.worker("C", "state-c")
    wait_until(lambda: one.log.count(JOINS) > joins, f"{one} joins again")
    assert one.terminate() == 0
    assert "LeaveGroup request succeeded" in one.log


def test_of_two_workers_with_one_name_the_later_serves_and_the_earlier_ends(bench, broker):
    if not broker.is_kafka:
        pytest.skip("the embedded broker knows neither static members nor transactions")
    bench.create_topics()
    bench.send_actions(1_000)
    one = bench.worker("A", "state-a", static=True)
    bench.wait_committed(1_000, ACTIONS)
    two = bench.worker("A", "state-b", static=True)
    two.wait_ready()  # the earlier one could apply all of it before, on a busy machine
    bench.send_actions(2_000, start=1_000)
    assert one.process.wait(PATIENCE_S) != 0
    assert "it was started with the same group_instance_id worker-A" in one.log
    bench.wait_committed(3_000, ACTIONS)
    assert two.terminate() == 0
    assert bench.states("state-b") == bench.expected_states()


def test_two_workers_may_share_a_folder_on_one_machine(bench):
    """Each database has one owner at a time; one that moves takes no restore with it."""
    bench.create_topics()
    bench.send_actions(2_000)
    one, two = bench.worker("A", SLOW_MS="60"), bench.worker("B", SLOW_MS="60")
    one.wait_ready()
    two.wait_ready()
    bench.wait_committed(500, ACTIONS)
    assert one.terminate() == 0
    bench.send_actions(2_000, start=2_000)
    bench.wait_committed(4_000, ACTIONS)
    assert two.terminate() == 0
    assert "restored" not in two.log
    assert bench.states() == bench.expected_states()


def test_many_requests_hold_up_neither_actions_nor_each_other(bench):
    """More than ``max_pending_requests`` wait; afterwards, with all else idle, one is answered at once."""
    bench.create_topics()
    bench.send_requests(2_000)
    worker = bench.worker()
    worker.wait_ready()
    bench.send_actions(2_000)
    bench.wait_committed(4_000)
    waits = [wait_for_answer(bench, 2_000 + number) for number in range(5)]
    print(f"answered in {', '.join(f'{wait:.2f}' for wait in waits)} s")
    assert sorted(waits)[2] < 1.0, "a fetch for idle partitions held up the busy one"
    assert worker.terminate() == 0
    assert set(bench.feeds()) == {f"r{n}" for n in range(2_005)}


def wait_for_answer(bench: Bench, number: int) -> float:
    """Send a request and return the seconds until its feed is there."""
    begun, before = time.monotonic(), count(bench)
    bench.send_requests(1, start=number)
    wait_until(lambda: count(bench) > before, "the request is answered", every_s=0.01)
    return time.monotonic() - begun


def count(bench: Bench) -> int:
    return sum(bounds.end for bounds in bench.bounds(FEEDS).values())
