"""A disk that is set back together with the cluster's metadata: leaders' epochs come again, so they tell nothing."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP
from kafka.admin import ConfigResourceType

from rankstream.streams.broker import RealKafka
from rankstream.streams.clients.producer import Producer
from rankstream.streams.topics import ACTIONS, ITEM_UPDATES, prepare_topics
from rankstream.streams.worker.offsets import Bounds
from tests.builders.catalogue import an_item
from tests.builders.cli import connected, rankstream, refusal
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench, Worker, wait_until
from tests.kafka.test_rewritten_log import BROKER_ID, OTHERS, SOON, act, set_, wait_for_compaction

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]

OLD, NEW = 400, 1_200
SESSION_S = 120.0  # workers are to live through the broker's restarts
CHECKPOINTS = (
    "recovery-point-offset-checkpoint",
    "replication-offset-checkpoint",
    "cleaner-offset-checkpoint",
    ".kafka_cleanshutdown",
)


@dataclass
class Served:
    """A system whose log was set back while its worker was cut off from the broker."""

    bench: Bench
    worker: Worker
    old: dict[Any, bytes]  # what stood in the changelog
    before: dict[TP, int]  # where the log ended


@pytest.fixture(scope="module")
def set_back(tmp_path_factory: pytest.TempPathFactory, broker: Any) -> Iterator[dict[str, Any]]:
    """Two systems and a follower of items on one broker, which is set back under all of them."""
    if not broker.is_kafka or not os.environ.get("KAFKA_HOME"):
        pytest.skip("needs an Apache Kafka whose logs can be set back")
    folders = {name: tmp_path_factory.mktemp(name) for name in ("grown", "compacted", "copy")}
    with RealKafka(Path(os.environ["KAFKA_HOME"])) as kafka, ExitStack() as closing:
        benches = {name: Bench(kafka.bootstrap_servers, folders[name], SESSION_S) for name in ("grown", "compacted")}
        set_(kafka.bootstrap_servers, ConfigResourceType.BROKER, BROKER_ID, {"log.cleaner.backoff.ms": "500"})
        workers = {name: a_worker(bench, closing) for name, bench in benches.items()}
        items = a_follower(benches["grown"], closing)
        data = stop(kafka)
        shutil.copytree(data, folders["copy"] / "data")
        kafka.start()
        served = {name: go_on(bench, workers[name]) for name, bench in benches.items()}
        send_items(benches["grown"], range(10, 20))
        wait_until(lambda: "20 items" in items.log.read_text(), "all items are published")
        items.process.send_signal(signal.SIGSTOP)
        stop(kafka)
        restore(data, folders["copy"] / "data", *(bench.names.of(ACTIONS) for bench in benches.values()))
        restore(data, folders["copy"] / "data", benches["grown"].names.of(ITEM_UPDATES))
        kafka.start()
        yield {**served, "items": items}


@dataclass
class Follower:
    """A process that follows item-updates, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path


def a_worker(bench: Bench, closing: ExitStack) -> Worker:
    """Let a worker apply actions."""
    closing.callback(bench.close)
    bench.create_topics()
    worker = bench.worker(CUT_OFF=str(bench.folder / "cut-off"), LOOK_AGAIN_S="3600")
    bench.send_actions(OLD, users=100)
    bench.wait_committed(OLD, ACTIONS)
    bench.forget_producer()
    return worker


def a_follower(bench: Bench, closing: ExitStack) -> Follower:
    """Follow ten items into a catalogue, until they are published."""
    asyncio.run(prepare_topics(bench.settings, create=True))
    send_items(bench, range(10))
    words = ["catalogue", "follow", str(bench.folder / "catalogue"), *connected(bench.settings)]
    log = bench.folder / "follow.log"
    command = [sys.executable, "-m", "rankstream.cli.main", *words]
    process = subprocess.Popen(command, stdout=log.open("wb"), stderr=subprocess.STDOUT)
    closing.callback(process.kill)
    wait_until(lambda: "10 items" in log.read_text(), "ten items are published")
    return Follower(process, log)


def send_items(bench: Bench, numbers: range) -> None:
    with Producer(bench.settings, also=[ITEM_UPDATES]) as producer:
        for number in numbers:
            producer.send_item(an_item(number))


def go_on(bench: Bench, worker: Worker) -> Served:
    """Let it apply what will be lost, and cut it off."""
    bench.send_actions(OLD, users=100, start=OLD)
    bench.wait_committed(2 * OLD, ACTIONS)
    old, before = dict(bench.changelog()), {tp: bounds.end for tp, bounds in bench.bounds(ACTIONS).items()}
    bench.forget_producer()
    (bench.folder / "cut-off").touch()
    return Served(bench, worker, old, before)


def stop(kafka: RealKafka) -> Path:
    """Kill the broker and return the folder of its logs."""
    assert kafka.process is not None
    kafka.process.kill()
    kafka.process.wait()
    return kafka.folder / "data"


def restore(data: Path, copy: Path, *topics: str) -> None:
    """Bring back the metadata and topics' logs as they were copied; all others stay."""
    for log in [copy / "__cluster_metadata-0", *(log for topic in topics for log in copy.glob(f"{topic}-*"))]:
        shutil.rmtree(data / log.name)
        shutil.copytree(log, data / log.name)
    for name in CHECKPOINTS:
        (data / name).unlink(missing_ok=True)


def ends_refusing(served: Served) -> None:
    """Let the worker reach the broker again: it ends, and has written nothing."""
    (served.bench.folder / "cut-off").unlink()
    assert served.worker.process.wait(PATIENCE_S) > 0
    assert " has lost records that were applied (another record stands at offset " in served.worker.log
    assert served.bench.changelog() == served.old


def test_a_log_that_was_set_back_and_has_grown_past_the_position_under_leaders_of_the_same_epoch(set_back):
    bench = set_back["grown"].bench
    bench.send_actions(NEW, users=100, start=5_000)
    assert all(bounds.end > set_back["grown"].before[tp] for tp, bounds in bench.bounds(ACTIONS).items())
    ends_refusing(set_back["grown"])


def test_one_that_is_compacted_too_so_that_nothing_stands_where_the_last_record_applied_stood(set_back):
    """What is left below the position is later than all that was applied there."""
    bench, before = set_back["compacted"].bench, set_back["compacted"].before
    topic = bench.names.of(ACTIONS)
    set_(bench.settings.bootstrap_servers, ConfigResourceType.TOPIC, topic, SOON)
    act(bench, OTHERS, range(1))  # who do not act again
    bench.send_actions(NEW, users=100, start=5_000)
    wait_for_compaction(bench, {tp: Bounds(end - 1, end) for tp, end in before.items()})
    ends_refusing(set_back["compacted"])


def test_who_follows_items_through_it_ends_and_so_does_who_starts_behind_it(set_back):
    items, bench = set_back["items"], set_back["grown"].bench
    send_items(bench, range(100, 150))
    items.process.send_signal(signal.SIGCONT)
    assert items.process.wait(PATIENCE_S) == 2
    assert items.log.read_text().endswith("or this one lost its newest records: follow into a new folder\n")
    again = rankstream("catalogue", "follow", bench.folder / "catalogue", "--once", *connected(bench.settings))
    assert "lost its newest records" in refusal(again)
