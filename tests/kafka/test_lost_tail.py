"""A topic that lost its newest records and grew past the position again: the same id, other records."""

import asyncio
import shutil

import pytest
from faust.types import TP

from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.broker import RealKafka
from rankstream.streams.topics import ACTIONS
from rankstream.streams.worker.leader_epochs import ends_of_epochs
from rankstream.streams.worker.source import unpacked
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]

OLD, NEW = 400, 1_200


def lose_tails(kafka: RealKafka, *topics: str) -> None:
    """Kill the broker and cut each partition's log, as if a follower without its end had become the leader."""
    assert kafka.process is not None
    kafka.process.kill()
    kafka.process.wait()
    for log in [log for topic in topics for log in kafka.folder.rglob(f"{topic}-*/*.log")]:
        with log.open("r+b") as file:
            file.truncate(log.stat().st_size // 2)
        for index in log.parent.glob("*index"):
            index.unlink()
        checkpoints = log.parent.parent
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown"):
        (checkpoints / name).unlink(missing_ok=True)
    kafka.start()


def last_known(bench: Bench) -> tuple[dict[TP, int], dict[TP, int]]:
    """Return the offset of the last record that was applied, and the epoch of its leader, by partition."""
    kept = {}
    for tp in bench.tps(ACTIONS):
        store = RocksStore(bench.folder / "state" / bench.settings.app_id / f"{tp.topic}-{tp.partition}", wait_s=5)
        kept[tp] = unpacked(store.source)
        store.close()
    return {tp: one.last_offset for tp, one in kept.items()}, {tp: one.last_epoch for tp, one in kept.items()}


def ends_of(bench: Bench, epochs: dict[TP, int]) -> dict[TP, int]:
    return asyncio.run(ends_of_epochs(bench.settings, epochs))


def test_positions_behind_records_that_the_topic_lost_are_refused(kafka, tmp_path):
    bench = Bench(kafka.bootstrap_servers, tmp_path, session_timeout_s=6.0)
    bench.create_topics()
    for batch in range(0, OLD, 20):
        bench.send_actions(20, users=100, start=batch)
    worker = bench.worker()
    bench.wait_committed(OLD, ACTIONS)
    assert worker.terminate() == 0
    again = bench.worker()  # what it applied is still there
    again.wait_ready()
    assert again.terminate() == 0
    last, epochs = last_known(bench)
    assert all(ends_of(bench, epochs)[tp] > offset for tp, offset in last.items())
    before = {tp: bounds.end for tp, bounds in bench.bounds(ACTIONS).items()}
    bench.forget_producer()
    lose_tails(kafka, bench.names.of(ACTIONS))
    lost = bench.bounds(ACTIONS)
    assert all(0 < lost[tp].end < end for tp, end in before.items())
    bench.send_actions(NEW, users=100, start=5_000)
    assert all(bounds.end > before[tp] for tp, bounds in bench.bounds(ACTIONS).items())
    assert all(ends_of(bench, epochs)[tp] <= offset for tp, offset in last.items()), "leaders' epochs tell it too"
    old = bench.changelog()
    for whose in ("its state folder", "the changelog"):
        refused = bench.worker()
        assert refused.process.wait(PATIENCE_S) > 0
        assert f"{whose} has users with the action at offset " in refused.log
        assert bench.changelog() == old
        shutil.rmtree(bench.folder / "state")
    bench.close()
