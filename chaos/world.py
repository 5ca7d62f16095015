"""What a run has around it: the broker, and what of the workers' surroundings this machine lets us break."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos import disks
from chaos.clocks import Clock, can_jump
from chaos.plan import ALL, OF_BROKERS, OF_CLOCKS, OF_DISKS, OF_NETWORK, OF_WORKERS, Kind
from chaos.proxy import Proxy
from rankstream.streams.broker import EmbeddedBroker, LocalBroker, RealKafka, free_port

BROKER_START_S = 180.0  # it was killed, and machines may be busy


@dataclass(frozen=True)
class World:
    """A broker, and a line and a clock a worker where there are some."""

    name: str  # of the broker, for people
    bootstrap_servers: str
    broker: LocalBroker | None = None  # to be hit; None: it is spared
    lines: Sequence[Proxy] = ()
    with_disks: bool = False
    with_clocks: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What can happen here, besides poison."""
        possible = set(kinds_of(self.broker is not None, self.with_disks, self.with_clocks))
        return tuple(kind for kind in ALL if kind in possible and (self.lines or kind not in OF_NETWORK))

    def clocks(self, folder: Path, workers: int) -> list[Clock]:
        """Return a clock for each worker; none where they can't be moved."""
        return [Clock(folder, f"worker-{number}") for number in range(workers)] if self.with_clocks else []


def kinds_of(with_kafka: bool, with_disks: bool, with_clocks: bool) -> tuple[Kind, ...]:
    """Return what can happen where these can be broken."""
    kafka = (*OF_NETWORK, *OF_BROKERS) if with_kafka else ()
    return (*OF_WORKERS, *kafka, *(OF_DISKS if with_disks else ()), *(OF_CLOCKS if with_clocks else ()))


@contextmanager
def a_world(kafka_home: Path | None, workers: int) -> Iterator[World]:
    """Start a broker, and a line to it for each worker: Apache Kafka where it is, else the embedded one, unbroken."""
    disks_too, clocks_too = disks.can_mount(), can_jump()
    if kafka_home is None:
        with EmbeddedBroker() as embedded:
            yield World("embedded broker", embedded.bootstrap_servers, None, (), disks_too, clocks_too)
        return
    lines = [Proxy(free_port(), free_port()) for _ in range(workers)]
    with ExitStack() as started:
        kafka = RealKafka(kafka_home, {line.to_port: line.port for line in lines})
        kafka.start_s = BROKER_START_S
        started.enter_context(kafka)
        for line in lines:
            started.enter_context(line)
        yield World("Apache Kafka", kafka.bootstrap_servers, kafka, lines, disks_too, clocks_too)
