"""Topics that lose their newest records under running workers: new records take the offsets of lost ones."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from rankstream.features.stores.rocksdb import POSITION
from rankstream.streams.broker import RealKafka
from rankstream.streams.topics import ACTIONS, CHANGELOG, REQUESTS
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench, Worker, wait_until
from tests.kafka.test_lost_tail import lose_tails

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]

OLD = 400
LOST = {"shorter": ACTIONS, "longer": ACTIONS, "asked": REQUESTS, "logged": CHANGELOG}  # what each system loses
SESSION_S = 120.0  # workers are to live through the broker's restart, not to be taken for dead


@dataclass
class Served:
    """A system whose topic lost its tail, and the worker that served it all the while."""

    bench: Bench
    worker: Worker
    old: dict[str, object]  # what stood in the changelog


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, broker) -> Iterator[dict[str, Served]]:
    """One broker, killed and set back once under a worker for each topic: its restart takes most of the time."""
    if not broker.is_kafka or not os.environ.get("KAFKA_HOME"):
        pytest.skip("needs an Apache Kafka whose logs can be set back")
    with RealKafka(Path(os.environ["KAFKA_HOME"])) as kafka, ExitStack() as closing:
        served = {name: serve(kafka, tmp_path_factory.mktemp(name), closing) for name in LOST}
        hold(served["longer"])
        lose_tails(kafka, *(served[name].bench.names.of(topic) for name, topic in LOST.items()))
        yield served


def serve(kafka: RealKafka, folder: Path, closing: ExitStack) -> Served:
    """Let a worker apply actions and answer requests."""
    bench = Bench(kafka.bootstrap_servers, folder, SESSION_S)
    closing.callback(bench.close)
    bench.create_topics()
    worker = bench.worker(CUT_OFF=str(folder / "cut-off"))
    for batch in range(0, OLD, 20):
        bench.send_actions(20, users=100, start=batch)
        bench.send_requests(20, users=100, start=batch)
    bench.wait_committed(2 * OLD)
    bench.forget_producer()
    return Served(bench, worker, dict(bench.changelog()))


def hold(served: Served) -> None:
    """Keep a worker from the broker, so that it does not see how short the topic was."""
    (served.bench.folder / "cut-off").touch()


def test_a_worker_whose_topic_is_shorter_than_its_position_ends_and_writes_nothing(cut):
    bench, worker, old = cut["shorter"].bench, cut["shorter"].worker, cut["shorter"].old
    bench.send_actions(20, users=100, start=5_000)  # at offsets that it has applied already
    assert worker.process.wait(PATIENCE_S) > 0
    assert "user-actions partition " in worker.log
    assert " has lost records that were applied (it ends at offset " in worker.log
    assert bench.changelog() == old
    refused = bench.worker()
    assert refused.process.wait(PATIENCE_S) > 0
    assert "it is the same topic: it has lost its newest records" in refused.log


def test_so_does_one_whose_topic_has_grown_past_its_position_before_it_could_look(cut):
    bench, worker, old = cut["longer"].bench, cut["longer"].worker, cut["longer"].old
    for batch in range(5_000, 6_200, 20):
        bench.send_actions(20, users=100, start=batch)
    (bench.folder / "cut-off").unlink()
    assert worker.process.wait(PATIENCE_S) > 0
    assert " has lost records that were applied (another record stands at offset " in worker.log
    assert bench.changelog() == old
    refused = bench.worker()
    assert refused.process.wait(PATIENCE_S) > 0
    assert "but that topic holds another record there" in refused.log


def test_requests_that_stand_where_others_were_answered_are_answered(cut):
    bench, worker = cut["asked"].bench, cut["asked"].worker
    bench.send_requests(100, users=100, start=OLD)
    asked = {f"r{number}" for number in range(OLD + 100)}
    wait_until(lambda: set(bench.feeds()) >= asked, f"all are answered by {worker}", 180, every_s=1.0)
    assert "ranking-requests 0 has lost requests that were answered" in worker.log
    assert worker.terminate() == 0


def test_a_changelog_that_lost_records_is_given_them_again(cut):
    """A later position behind the gap would say that the users in it are there."""
    bench, worker = cut["logged"].bench, cut["logged"].worker
    bench.send_actions(20, users=5, start=OLD)
    wait_until(lambda: worker.process.poll() is not None or bench.committed(ACTIONS) >= OLD + 20, "it ends or goes on")
    worker.kill()
    again = bench.worker()
    bench.wait_committed(OLD + 20, ACTIONS)
    assert again.terminate() == 0
    shutil.rmtree(bench.folder / "state")
    logged = {key: state for (_, key), state in bench.changelog().items() if key != POSITION}
    assert logged == bench.expected_states()
