"""What the tests with a broker are made of: topics of their own, a log of events, workers, and the states they left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

from aiokafka import TopicPartition
from faust.types import TP
from kafka import KafkaProducer

from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.setting_fields import variable
from rankstream.streams.settings import Settings
from rankstream.streams.topics import (
    ACTIONS,
    CHANGELOG,
    DEAD_LETTERS,
    FEEDS,
    REQUESTS,
    Topic,
    TopicNames,
    prepare_topics,
)
from rankstream.streams.worker.offsets import Bounds, bounds_of, committed_and_skipped, reader
from tests.builders.actions import MORNING_MS, MixingSessions, SomeLiveRanker
from tests.builders.cli import connected
from tests.builders.patience import PATIENCE_S
from tests.kafka.forked import ROOT, WORKER, Forked

PARTITIONS = 4
READY = "Worker ready"
AT_ITS_START = {"LD_PRELOAD", "PYTHONPATH"}  # what is read as a process starts, and never again


def wait_until(true: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S, every_s: float | None = None) -> Any:
    """Wait until ``true()`` is truthy, and return it.

    Without ``every_s`` looks take 4 % of a processor at most: one at a topic computes for 4 ms, the broker for half of
    that, and tests wait for minutes in all.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        before = time.process_time()
        answer = true()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain until {what}"
        time.sleep(max(0.05, 25 * (time.process_time() - before)) if every_s is None else every_s)


def page(port: int, path: str = "/ready") -> tuple[int, dict[str, Any]]:
    """Return status and document of a worker's page; status 0 where nobody listens."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as exc:
        return exc.code, json.load(exc)
    except (OSError, HTTPException):
        return 0, {}


def started(environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a worker in a process of its own."""
    with log.open("ab") as output:
        command = [sys.executable, str(WORKER)]
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)


class Worker:
    """A worker process and its log."""

    def __init__(self, settings: Settings, log: Path, **environment: str) -> None:
        self.settings = settings
        self.log_path = log
        given = {variable(one.name): getattr(settings, one.name) for one in fields(settings)}
        texts = {name: str(value) for name, value in given.items() if value is not None}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        whole = {**os.environ, "PYTHONPATH": path, **texts, **environment}
        self.started_at = time.monotonic()
        self.process = started(whole, log) if AT_ITS_START & environment.keys() else Forked(whole, log)

    def __repr__(self) -> str:
        """Return how its log ends: what a test that fails tells of it."""
        return f"<worker {self.process.pid}, {self.process.poll()}: ...{self.log[-3000:]}>"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def times_ready(self) -> int:
        """How many rebalances it has completed."""
        return self.log.count(READY)

    def wait_ready(self, times: int = 1, timeout_s: float = PATIENCE_S) -> float:
        """Wait until it is ready; return the seconds since its start."""

        def is_ready() -> bool:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}: {self.log[-3000:]}"
            return self.times_ready >= times

        wait_until(is_ready, f"the worker is ready {times} times: {self.log[-3000:]}", timeout_s)
        return time.monotonic() - self.started_at

    def pause(self) -> None:
        """Let it stand still where it is, whatever it is doing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after a pause, as though no time had passed."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self, timeout_s: float = PATIENCE_S) -> int:
        """End it with SIGTERM; return the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout_s)


class Bench:
    """One system under test: topics of a random prefix, a group, state folders, workers."""

    def __init__(self, bootstrap_servers: str, folder: Path, session_timeout_s: float) -> None:
        name = f"t{uuid4().hex[:8]}"
        self.folder = folder
        self.settings = Settings(
            bootstrap_servers=bootstrap_servers,
            app_id=name,
            topic_prefix=f"{name}.",
            partitions=PARTITIONS,
            session_timeout_s=session_timeout_s,
            heartbeat_interval_s=1.0,
            commit_interval_s=0.5,
            state_dir=folder / "state",
            chunk_size=100,
            engine="plain",  # unless a test asks for the other one: it starts in half a second less
            answer_within_ms=0,  # what is looked at are the answers, however busy the machine
        )
        self.names = TopicNames(self.settings.topic_prefix)
        self.workers: list[Worker] = []
        self._producer: KafkaProducer | None = None

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self.forget_producer()

    # --- topics and records

    def create_topics(self) -> None:
        asyncio.run(prepare_topics(self.settings))

    @property
    def producer(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = KafkaProducer(bootstrap_servers=self.settings.bootstrap_servers, linger_ms=20)
        return self._producer

    def forget_producer(self) -> None:
        """Close the producer; the next record is sent by a new one."""
        if self._producer is not None:
            self._producer.close()
        self._producer = None

    def send(self, topic: Topic, key: bytes, value: bytes) -> None:
        self.producer.send(self.names.of(topic), value, key)

    def send_actions(self, count: int, users: int = 150, bad_every: int = 0, start: int = 0) -> None:
        """Send actions of many users, with sessions that end and, now and then, one that is not JSON."""
        for number in range(start, start + count):
            user = f"u{number * 7919 % users}"
            at_ms = MORNING_MS + number * 400
            event = {"user_id": user, "item_id": number % 700, "action": "view", "timestamp_ms": at_ms}
            bad = bad_every and number % bad_every == 0
            self.send(ACTIONS, user.encode(), b"not JSON" if bad else json.dumps(event).encode())
        self.producer.flush()

    def send_requests(self, count: int, users: int = 150, start: int = 0) -> None:
        for number in range(start, start + count):
            user = f"u{number % users}"
            request = {"request_id": f"r{number}", "user_id": user, "limit": 3}
            self.send(REQUESTS, user.encode(), json.dumps(request).encode())
        self.producer.flush()

    def tps(self, *topics: Topic) -> list[TP]:
        return [TP(self.names.of(topic), number) for topic in topics for number in range(self.settings.partitions)]

    def bounds(self, *topics: Topic) -> dict[TP, Bounds]:
        return asyncio.run(bounds_of(self.settings, self.tps(*topics)))

    def read(self, topic: Topic) -> list[Any]:
        """Return all records of a topic, by partition and offset."""
        return asyncio.run(self._read(topic))

    async def _read(self, topic: Topic) -> list[Any]:
        records: list[Any] = []
        for tp, bounds in (await bounds_of(self.settings, self.tps(topic))).items():
            if not bounds.count:
                continue
            async with reader(self.settings) as consumer:
                kafka_tp = TopicPartition(tp.topic, tp.partition)
                consumer.assign([kafka_tp])
                consumer.seek(kafka_tp, bounds.begin)
                while await consumer.position(kafka_tp) < bounds.end:
                    for found in (await consumer.getmany(kafka_tp, timeout_ms=200)).values():
                        records += found
        return records

    # --- workers

    def worker(self, name: str = "A", state: str = "state", static: bool = False, **environment: str) -> Worker:
        """Start a worker with this state folder."""
        settings = replace(
            self.settings, state_dir=self.folder / state, group_instance_id=f"worker-{name}" if static else None
        )
        log = self.folder / f"{name}-{len(self.workers)}.log"
        self.workers.append(Worker(settings, log, **environment))
        return self.workers[-1]

    def committed(self, *topics: Topic) -> int:
        """Return how many records of these topics the group has committed."""
        offsets, _ = asyncio.run(committed_and_skipped(self.settings, self.tps(*(topics or (ACTIONS, REQUESTS)))))
        return sum(offsets.values())

    def wait_committed(self, records: int, *topics: Topic, timeout_s: float = PATIENCE_S) -> int:
        """Wait until the group has committed so many; return how many it has."""
        logs = lambda: "".join(worker.log[-2500:] for worker in self.workers[-2:])  # noqa: E731
        try:
            return int(wait_until(lambda: (n := self.committed(*topics)) >= records and n, "", timeout_s))
        except AssertionError:
            raise AssertionError(f"{self.committed(*topics)} of {records} committed: {logs()}") from None

    # --- results

    def states(self, *states: str) -> dict[bytes, bytes]:
        """Return all users' records from the folders, of each partition from the one that is furthest."""
        users: dict[bytes, bytes] = {}
        for number in range(self.settings.partitions):
            found = []
            for state in states or ("state",):
                folder = self.folder / state / self.settings.app_id / f"{self.names.of(ACTIONS)}-{number}"
                if folder.exists():
                    store = RocksStore(folder, wait_s=5)
                    found.append((store.next_offset or -1, dict(store.items())))
                    store.close()
            users |= max(found, key=lambda each: each[0])[1]
        return users

    def expected_states(self, as_json: Callable[[Any], Any] = lambda records: records) -> dict[bytes, bytes]:
        """Return the records that one pipeline a partition makes of the same log, in process, without a kill.

        ``as_json`` reads values that are not JSON.
        """
        by_partition: dict[int, list[Any]] = {}
        for record in self.read(ACTIONS):
            by_partition.setdefault(record.partition, []).append(record)
        users: dict[bytes, bytes] = {}
        for records in by_partition.values():
            store = MemoryStore()
            pipeline = Pipeline(UserCache(store), SomeLiveRanker(MixingSessions()))
            pipeline.on_actions(as_json(records))
            pipeline.users.commit(pipeline.users.take_changes(records[-1].offset + 1))
            users |= dict(store.items())
        return users

    def feeds(self) -> Counter[str]:
        """Count the answers of each request."""
        return Counter(json.loads(record.value)["request_id"] for record in self.read(FEEDS))

    def dead_letters(self) -> Counter[tuple[int, int]]:
        """Count the dead letters of each record, by partition and offset."""
        dead_letters = [json.loads(record.value) for record in self.read(DEAD_LETTERS)]
        return Counter((dead_letter["partition"], dead_letter["offset"]) for dead_letter in dead_letters)

    def bad_records(self) -> set[tuple[int, int]]:
        """Return partition and offset of the records that were sent as bad ones."""
        return {(record.partition, record.offset) for record in self.read(ACTIONS) if record.value == b"not JSON"}

    def changelog(self) -> Mapping[tuple[int, bytes], bytes]:
        """Return the last value of each key, by partition and key."""
        return {(record.partition, record.key): record.value for record in self.read(CHANGELOG)}


@contextmanager
def following(bench: Bench) -> Iterator[None]:
    """Follow item-updates into the catalogue, in a process that is killed at the end."""
    words = ["catalogue", "follow", str(bench.settings.catalogue), "--every-s", "0.5", "--keep", "1000"]
    command = [sys.executable, "-m", "rankstream.cli.main", *words, *connected(bench.settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first version is there
        try:
            yield
        finally:
            process.kill()  # also where the test fails, or it would be waited for without end
