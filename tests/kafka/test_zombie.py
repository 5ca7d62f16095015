"""A worker that others took for dead, and that wakes: what it still had in its hands must not count, and it must end.

The group gives its partitions away after the session; what it had handed to the producer before, it sends on waking.
"""

import shutil
import signal
import time
from pathlib import Path

import pytest

from rankstream.features.stores.rocksdb import POSITION
from rankstream.streams.topics import ACTIONS
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench, Worker, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

FIRST, MORE = 3_000, 2_000


@pytest.fixture
def fenced(bench: Bench, broker) -> Bench:
    if not broker.is_kafka:
        pytest.skip("the embedded broker knows no transactions")
    return bench


def is_stopped(worker: Worker) -> bool:
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def apply_first(bench: Bench, **environment: str) -> Worker:
    """Start worker A and let it apply the first actions."""
    bench.create_topics()
    bench.send_actions(FIRST, bad_every=100)
    worker = bench.worker("A", "state-a", **environment)
    bench.wait_committed(FIRST, ACTIONS)
    return worker


def take_over(bench: Bench) -> Worker:
    """Let worker B take the partitions over and apply all that is there."""
    heir = bench.worker("B", "state-b")
    heir.wait_ready()
    bench.send_actions(MORE, bad_every=100, start=FIRST + MORE)
    bench.wait_committed(FIRST + 2 * MORE, ACTIONS)
    return heir


def assert_it_ends(worker: Worker) -> None:
    woken_at = time.monotonic()
    assert worker.process.wait(PATIENCE_S) != 0
    print(f"ended {time.monotonic() - woken_at:.1f} s after it woke")


def assert_the_changelog_holds_everything(bench: Bench) -> None:
    """Compare the last record of each key, as compaction would leave it, and what a worker makes of it alone."""
    expected = bench.expected_states()
    assert {key: value for (_, key), value in bench.changelog().items() if key != POSITION} == expected
    shutil.rmtree(bench.folder / "state-a")
    shutil.rmtree(bench.folder / "state-b")
    heir = bench.worker("C", "state-c")
    heir.wait_ready()
    assert heir.terminate() == 0
    assert bench.states("state-c") == expected


@pytest.mark.parametrize(
    "request_of", ["AddPartitionsToTxnRequest", "ProduceRequest", "TxnOffsetCommitRequest", "EndTxnRequest"]
)
def test_a_checkpoint_in_the_hands_of_a_worker_that_stood_still_does_not_count(fenced, tmp_path, request_of):
    stop = tmp_path / "stop"
    zombie = apply_first(fenced, STOP_AT=request_of, STOP_WHEN=str(stop))
    stop.touch()
    fenced.send_actions(MORE, bad_every=100, start=FIRST)
    wait_until(lambda: is_stopped(zombie), "the worker stops itself")
    heir = take_over(fenced)
    zombie.process.send_signal(signal.SIGCONT)
    assert_it_ends(zombie)
    assert heir.terminate() == 0
    assert set(fenced.dead_letters()) == fenced.bad_records()
    assert fenced.dead_letters().total() == len(fenced.bad_records()), "a dead letter of the zombie counted"
    assert_the_changelog_holds_everything(fenced)


def test_a_checkpoint_held_up_by_the_network_does_not_count(fenced, tmp_path):
    cut = tmp_path / "cut"
    zombie = apply_first(fenced, CUT_OFF=str(cut))
    fenced.send_actions(MORE, bad_every=100, start=FIRST)
    cut.touch()
    heir = take_over(fenced)
    cut.unlink()
    wait_until(
        lambda: "belongs to another worker now" in zombie.log or zombie.process.poll() is not None, "it is refused"
    )
    fenced.wait_committed(FIRST + 2 * MORE, ACTIONS)
    for worker in (zombie, heir):
        worker.terminate()
    assert fenced.dead_letters().total() == len(fenced.bad_records()), "a dead letter of the zombie counted"
    assert_the_changelog_holds_everything(fenced)


def test_a_worker_that_wakes_late_ends_soon_on_any_broker(bench, tmp_path):
    stop = tmp_path / "stop"
    zombie = apply_first(bench, STOP_AT="ProduceRequest", STOP_WHEN=str(stop))
    stop.touch()
    bench.send_actions(MORE, bad_every=100, start=FIRST)
    wait_until(lambda: is_stopped(zombie), "the worker stops itself")
    take_over(bench)
    zombie.process.send_signal(signal.SIGCONT)
    assert_it_ends(zombie)
