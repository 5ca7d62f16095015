"""Three Apache Kafka brokers on this machine, each a controller too: leaders and coordinators move between them.

Every topic of three replicas has two that must have a record before it counts, so one broker may be away.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from aiokafka.client import AIOKafkaClient
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from rankstream.streams.broker import RealKafka
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import wait_until

PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
"""
JVM = {
    "KAFKA_HEAP_OPTS": "-Xmx256m",
    "KAFKA_JVM_PERFORMANCE_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",  # three of them start at once
}


class Node(RealKafka):
    """One of the three; ``voters`` are all of them, known once they have ports."""

    start_s = 900.0  # a bound for hanging: three of them start at once

    def __init__(self, home: Path, number: int) -> None:
        super().__init__(home)
        self.number = number
        self.voters = ""

    def prepare(self) -> tuple[list[str], dict[str, str]]:
        """Write the properties and format the storage, unless it was."""
        properties, environment = self.folder / "server.properties", {**JVM, "LOG_DIR": str(self.folder / "logs")}
        ports = {"port": self.port, "controller": self.controller_port, "folder": self.folder}
        properties.write_text(PROPERTIES.format(node=self.number, voters=self.voters, **ports))
        if not (self.folder / "data").exists():
            self._format(properties, environment)
        return [str(self.home / "bin" / "kafka-server-start.sh"), str(properties)], environment

    def kill(self) -> None:
        """End it with kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it in order: it hands on what it leads."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def lose_disk(self) -> None:
        """Have it come back with nothing, once it has ended."""
        rmtree(self.folder / "data")


class ThreeBrokers:
    """The cluster, and who of it does what."""

    def __init__(self, home: Path) -> None:
        self.nodes = {number: Node(home, number) for number in (1, 2, 3)}
        voters = ",".join(f"{one.number}@127.0.0.1:{one.controller_port}" for one in self.nodes.values())
        for one in self.nodes.values():
            one.voters, one.cluster_id = voters, self.nodes[1].cluster_id

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(one.bootstrap_servers for one in self.nodes.values())

    @contextmanager
    def asked(self) -> Iterator[Any]:
        """Ask whoever of them is there."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap_servers.split(","))
        yield admin
        admin.close()

    def leader(self, topic: str, partition: int = 0) -> Node:
        """Return who leads a partition."""
        with self.asked() as admin:
            (found,) = admin.describe_topics([topic])
        leader = next(one["leader_id"] for one in found["partitions"] if one["partition_index"] == partition)
        return self.nodes[leader]

    def coordinator(self, kind: int, name: str) -> Node:
        """Return who coordinates a group or the transactions of an id (``CoordinationType``)."""

        async def look_up() -> int:
            client = AIOKafkaClient(bootstrap_servers=self.bootstrap_servers.split(","))
            await client.bootstrap()
            try:
                found: int = await client.coordinator_lookup(kind, name)
                return found
            finally:
                await client.close()

        return self.nodes[asyncio.run(look_up())]

    def in_sync(self) -> bool:
        """Return whether every replica of every topic is in sync."""
        with suppress(KafkaError), self.asked() as admin:
            found = [each for one in admin.describe_topics(None) for each in one["partitions"]]
            return all(len(each["isr_nodes"]) == len(each["replica_nodes"]) for each in found)
        return False

    def wait_in_sync(self) -> None:
        wait_until(self.in_sync, "all replicas are in sync", every_s=0.5)


@contextmanager
def three_brokers(home: Path) -> Iterator[ThreeBrokers]:
    """Start three brokers; they end with the block."""
    cluster = ThreeBrokers(home)
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(Node.__enter__, cluster.nodes.values()))
        yield cluster
    finally:
        for one in cluster.nodes.values():
            one.stop()
