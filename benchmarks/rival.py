"""What exactly-once costs here and in Kafka Streams: events a second of wall and CPU, requests' latency, recovery.

    python -m benchmarks.rival --kafka-home DIR --rival DIR [--events 800000] [--rounds 3]

Four kinds take turns on one Apache Kafka, worker and broker on a core each: rankstream with feeds at least once and in
transactions (states are fenced by transactions in both), Kafka Streams at least once and exactly once (v2). The rival
is a folder with a ``run.sh PORT N`` that keeps the last 100 actions of each user in RocksDB with a changelog, prints a
line ``RESULT events_per_s=... events_per_cpu_s=...``, and takes ``--topic``, ``--eos``, ``--warmup``, ``--app-id``,
``--state-dir`` and ``--keep``. It reads the topics that rankstream read. Its warm-up is half of the events, for the JIT
compiler; ours a tenth. It ranks nothing, so only ours has a latency.

Recovery is from the start of a process that was killed, its state folder kept, until it has worked on what came
meanwhile: our first feed, its second event. Neither waits for the dead one's session: ours has a static name, the
rival's dead member is taken out of its group.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from kafka.admin import KafkaAdminClient, MemberToRemove

from benchmarks import worker as worker_benchmark
from benchmarks.cores import pin
from benchmarks.fencing import FEEDS_TOO, WITH, latency_and_recovery, rates, settings_of
from benchmarks.figures import MS, OF_CPU, OF_WALL, Figure, add_json, write_figures
from benchmarks.workload import events
from rankstream.streams.broker import RealKafka
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS

OURS = {"rankstream, feeds at least once": WITH, "rankstream, feeds in transactions": FEEDS_TOO}
THEIRS = {"Kafka Streams, at least once": False, "Kafka Streams, exactly once v2": True}
KINDS = (*OURS, *THEIRS)
RESULT = re.compile(r"^RESULT .*?events_per_s=(?P<wall>\d+).*?events_per_cpu_s=(?P<cpu>\d+)", re.M)
APPLIED = re.compile(r"^SECOND \d+ events=(\d+)")
COMMIT_S = 2.0  # the rival commits each second
LAST_LINES = 20  # of what it printed, where it ended


@dataclass(frozen=True)
class Measured:
    """What one kind did in one round."""

    events_per_s: float
    events_per_cpu_s: float
    recovery_s: float | None = None  # None: it never processed again
    latency_ms: float | None = None  # median
    latency_p99_ms: float | None = None


def ours(kind: str, settings: Settings, asked: Settings, count: int) -> Measured:
    """Fill a topic, and measure a worker on it; then another that is asked, and killed."""
    wall, cpu = rates(kind, settings, count)
    middle, late, recovery = latency_and_recovery(kind, asked)
    return Measured(wall, cpu, recovery, middle, late)


@dataclass(frozen=True)
class Rival:
    """Kafka Streams on a topic of ours."""

    home: Path
    settings: Settings
    exactly_once: bool
    folder: Path

    def command(self, count: int, warmup: int, app_id: str) -> list[str]:
        """Return what runs it until so many events are processed."""
        port = self.settings.bootstrap_servers.rsplit(":", 1)[1]
        flags = {"topic": self.settings.topic_prefix + ACTIONS.name, "eos": str(self.exactly_once).lower(),
                 "warmup": warmup, "app-id": app_id, "state-dir": self.folder, "keep": "true"}  # fmt: skip
        return [str(self.home / "run.sh"), port, str(count), *(f"--{name}={value}" for name, value in flags.items())]

    def measured(self, count: int) -> Measured:
        """Process the topic, then again under another name until it is killed, and recover."""
        name = self.folder.name
        done = subprocess.run(
            self.command(count, count // 2, f"{name}-rate"), capture_output=True, text=True, timeout=300, check=False
        )
        found = RESULT.search(done.stdout)
        if found is None:
            raise SystemExit(f"the rival ended without a result: {(done.stdout + done.stderr)[-2000:]}")
        return Measured(float(found["wall"]), float(found["cpu"]), self.recovery_s(count, f"{name}-killed"))

    def recovery_s(self, count: int, app_id: str) -> float | None:
        """Return the seconds from the start of a killed process until it has processed new events; None if it ended."""
        with running(self.command(count + 1, 1, app_id)) as process:
            for line in process.stdout or ():
                applied = APPLIED.match(line)
                if applied is not None and int(applied[1]) >= count:
                    break
            sleep(COMMIT_S)
        self.take_out(app_id)
        self.send_more()
        begun = perf_counter()
        printed: deque[str] = deque(maxlen=LAST_LINES)
        with running(self.command(2, 1, app_id)) as process:
            for line in process.stdout or ():
                if line.startswith("RESULT "):  # of two events it may tell "Infinity" a second
                    return perf_counter() - begun
                printed.append(line)
        print(f"the rival that was killed processed nothing when it was started again: {''.join(printed)}", flush=True)
        return None

    def take_out(self, app_id: str) -> None:
        """Take the dead member out of its group, which would wait for its session otherwise."""
        admin = KafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        members = admin.describe_groups([app_id])[app_id]["members"]
        admin.remove_group_members(app_id, [MemberToRemove(member_id=one["member_id"]) for one in members])
        admin.close()

    def send_more(self) -> None:
        """Send what came while it was away."""
        topic = self.settings.topic_prefix + ACTIONS.name
        with RawProducer(self.settings, [topic]) as producer:
            for event in events(1_000, seed=7):
                producer.send(topic, event.key, event.value)


@contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a command in a session of its own, and kill all of it at the end."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def one_round(servers: str, folder: Path, rival: Path, count: int, number: int) -> dict[str, Measured]:
    """Measure each kind once; the rival reads what ours has read."""
    found = {}
    for (our, kind), (their, exactly_once) in zip(OURS.items(), THEIRS.items(), strict=True):
        names = [f"{kind}-{what}-{number}" for what in ("rate", "latency")]
        one, two = (settings_of(servers, folder / name, name) for name in names)
        found[our] = ours(kind, one, two, count)
        found[their] = Rival(rival, one, exactly_once, folder / f"rival-{kind}-{number}").measured(count)
        print(f"round {number + 1}: {our} {found[our]}; {their} {found[their]}", flush=True)
    return found


def show(rounds: list[dict[str, Measured]]) -> None:
    """Print the medians with their ranges, a row a kind."""
    titles = {"events_per_s": "events/s", "events_per_cpu_s": "events a second of CPU", "recovery_s": "recovery s",
              "latency_ms": "latency ms, median", "latency_p99_ms": "latency ms, p99"}  # fmt: skip
    print(f"| | {' | '.join(titles.values())} |\n|---|{'---:|' * len(titles)}")
    for kind in KINDS:
        cells = [_cell([asdict(one[kind])[name] for one in rounds]) for name in titles]
        print(f"| {kind} | {' | '.join(cells)} |")


def figures_of(rounds: list[dict[str, Measured]]) -> list[Figure]:
    """Return what was measured of each kind; the rival has no latency."""
    units = {"events_per_s": OF_WALL, "events_per_cpu_s": OF_CPU, "recovery_s": "s to recover",
             "latency_ms": f"{MS}, median", "latency_p99_ms": f"{MS}, p99"}  # fmt: skip
    found = []
    for kind in KINDS:
        for name, unit in units.items():
            known = [value for one in rounds if (value := asdict(one[kind])[name]) is not None]
            found += [Figure.of(kind, unit, known)] if known else []
    return found


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):,.1f} ({min(known):,.1f} to {max(known):,.1f})" if known else "-"


def main() -> None:
    """Measure the kinds in turns and print them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=800_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kafka-home", type=Path, required=True)
    options.add_argument("--rival", type=Path, required=True, help="a folder with run.sh")
    add_json(options)
    chosen = options.parse_args()
    begun = perf_counter()
    with RealKafka(chosen.kafka_home) as broker, tempfile.TemporaryDirectory() as folder:
        if broker.process is not None:
            pin(broker.process.pid, worker_benchmark.BROKER_CORE)
        parts = (broker.bootstrap_servers, Path(folder), chosen.rival, chosen.events)
        rounds = [one_round(*parts, number) for number in range(chosen.rounds)]
    show(rounds)
    print(f"{chosen.events:,} events, {chosen.rounds} rounds, {(perf_counter() - begun) / 60:.1f} minutes")
    write_figures(chosen.json, figures_of(rounds))


if __name__ == "__main__":
    main()
