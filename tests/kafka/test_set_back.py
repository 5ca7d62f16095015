"""A disk that is set back together with the cluster's metadata: leaders' epochs come again, so they tell nothing."""

import shutil
from pathlib import Path

import pytest

from rankstream.streams.broker import RealKafka
from rankstream.streams.topics import ACTIONS
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(300)]

OLD = 400
SESSION_S = 120.0  # the worker is to live through the broker's restarts
CHECKPOINTS = ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown")


def stop(kafka: RealKafka) -> Path:
    """Kill the broker and return the folder of its logs."""
    assert kafka.process is not None
    kafka.process.kill()
    kafka.process.wait()
    return kafka.folder / "data"


def test_a_log_that_was_set_back_and_has_grown_past_the_position_under_leaders_of_the_same_epoch(kafka, tmp_path):
    bench = Bench(kafka.bootstrap_servers, tmp_path, SESSION_S)
    bench.create_topics()
    worker = bench.worker(CUT_OFF=str(tmp_path / "cut-off"), LOOK_AGAIN_S="3600")
    bench.send_actions(OLD, users=100)
    bench.wait_committed(OLD, ACTIONS)
    bench.forget_producer()
    data = stop(kafka)
    shutil.copytree(data, tmp_path / "copy")
    kafka.start()
    bench.send_actions(OLD, users=100, start=OLD)
    bench.wait_committed(2 * OLD, ACTIONS)
    old, before = dict(bench.changelog()), bench.bounds(ACTIONS)
    bench.forget_producer()
    (tmp_path / "cut-off").touch()
    stop(kafka)
    set_back(data, tmp_path / "copy", bench.names.of(ACTIONS))
    kafka.start()
    bench.send_actions(3 * OLD, users=100, start=5_000)
    assert all(bounds.end > before[tp].end for tp, bounds in bench.bounds(ACTIONS).items())
    (tmp_path / "cut-off").unlink()
    assert worker.process.wait(90) > 0
    assert " has lost records that were applied (another record stands at offset " in worker.log
    assert bench.changelog() == old
    bench.close()


def set_back(data: Path, copy: Path, topic: str) -> None:
    """Bring back the metadata and a topic's logs as they were copied; all others stay."""
    for log in [copy / "__cluster_metadata-0", *copy.glob(f"{topic}-*")]:
        shutil.rmtree(data / log.name)
        shutil.copytree(log, data / log.name)
    for name in CHECKPOINTS:
        (data / name).unlink(missing_ok=True)
