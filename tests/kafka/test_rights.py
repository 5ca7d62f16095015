"""Brokers with an authorizer, on Apache Kafka: who lacks a right is told which, on what, and what grants it."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from rankstream.streams import broker as local
from rankstream.streams.broker import RealKafka, free_port, why_no_kafka
from rankstream.streams.clients.connect import ClientError, connect_admin
from rankstream.streams.clients.producer import Producer, RawProducer
from rankstream.streams.clients.readers import FeedReader, TopicReader
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, CHANGELOG, DEAD_LETTERS, FEEDS, REQUESTS
from rankstream.streams.worker.rights import NEEDED, require_rights
from tests.builders.bundle import a_bundle
from tests.builders.cli import rankstream, refusal
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import ROOT, Bench, Worker, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PASSWORD = "hunter2"
LISTENERS = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},LOGIN://127.0.0.1:{login}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
USERS = ("reader", "producer", "nobody", "operator", "worker", "bare")
ALLOW = ACLPermissionType.ALLOW
KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional-id": ResourceType.TRANSACTIONAL_ID}
OPERATIONS = {"Read": ACLOperation.READ, "Write": ACLOperation.WRITE, "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS}


@dataclass
class Cluster:
    """A broker that lets nobody do anything, but for the tests themselves, on a listener of their own."""

    home: Path
    inside: Settings
    login_port: int
    admin: Any = field(init=False)

    def __post_init__(self) -> None:
        self.admin = connect_admin(self.inside)

    def of(self, user: str, bench: Bench) -> Settings:
        return replace(
            bench.settings, bootstrap_servers=f"127.0.0.1:{self.login_port}", security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN", sasl_username=user, sasl_password=PASSWORD, create_topics=False,
        )  # fmt: skip

    def grant(self, user: str, operation: str, name: str, kind: str = "topic", prefixed: bool = False) -> None:
        pattern = ACLResourcePatternType.PREFIXED if prefixed else ACLResourcePatternType.LITERAL
        resource = ResourcePattern(KINDS[kind], name, pattern)
        self.admin.create_acls([ACL(f"User:{user}", "*", OPERATIONS[operation], ALLOW, resource)])

    def revoke(self, user: str, operation: str, name: str, kind: str = "topic", prefixed: bool = False) -> None:
        pattern = ACLResourcePatternType.PREFIXED if prefixed else ACLResourcePatternType.LITERAL
        resource = ResourcePattern(KINDS[kind], name, pattern)
        self.admin.delete_acls([ACLFilter(f"User:{user}", "*", OPERATIONS[operation], ALLOW, resource)])


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    home = Path(os.environ["KAFKA_HOME"]) if os.environ.get("KAFKA_HOME") else None
    if request.config.getoption("--broker") != "kafka" or home is None or why_no_kafka(home):
        pytest.skip("the embedded broker has no authorizer")
    login, users = free_port(), " ".join(f'user_{name}="{PASSWORD}"' for name in USERS)
    lines = LISTENERS.replace("{login}", str(login)).replace("{users}", users)
    kept = [line for line in local.KAFKA_PROPERTIES.splitlines() if "listeners=" not in line and ".map=" not in line]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "KAFKA_PROPERTIES", "\n".join(kept) + "\n" + lines)
        with RealKafka(home) as broker:
            made = Cluster(home, Settings(bootstrap_servers=broker.bootstrap_servers), login)
            yield made
            made.admin.close()


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(cluster.inside.bootstrap_servers, tmp_path, 6.0)
    made.create_topics()
    yield made
    made.close()


def why_refused(make: Any, *given: Any) -> str:
    with pytest.raises(ClientError) as refused:
        make(*given)
    return str(refused.value)


def test_a_reader_lacks_read_and_the_command_that_is_shown_grants_it(cluster: Cluster, bench: Bench):
    settings, topic = cluster.of("reader", bench), bench.names.of(FEEDS)
    words = why_refused(FeedReader, settings)
    assert words.startswith(f"User:reader lacks Read on the topic {topic} (or there is no such topic); ")
    line = words.partition("grants it by: ")[2].replace(settings.bootstrap_servers, cluster.inside.bootstrap_servers)
    command, *flags = shlex.split(line)
    subprocess.run([str(cluster.home / "bin" / command), *flags], check=True, capture_output=True)
    wait_until(lambda: not _is_refused(TopicReader, settings, FEEDS), "the right is there")


def _is_refused(make: Any, *given: Any) -> bool:
    try:
        make(*given).close()
    except ClientError:
        return True
    return False


def test_a_producer_lacks_write_also_where_it_was_taken_away_meanwhile(cluster: Cluster, bench: Bench):
    settings, names = cluster.of("producer", bench), [bench.names.of(topic) for topic in (ACTIONS, REQUESTS)]
    for name in names:
        cluster.grant("producer", "Read", name)
    seen = wait_until(lambda: re.match(r".* lacks Write on the topics [^(]*;", why_refused(Producer, settings)), "seen")
    assert seen[0].removesuffix(";").endswith(f"{names[0]}, {names[1]}")
    for name in names:
        cluster.grant("producer", "Write", name)
    wait_until(lambda: not _is_refused(RawProducer, settings, names), "the rights are there")
    one = RawProducer(settings, names[:1])
    cluster.revoke("producer", "Write", names[0])
    wait_until(lambda: _is_refused(RawProducer, settings, names), "the right is gone")
    one.send(names[0], b"u1", b"{}")
    assert f"User:producer lacks Write on the topic {names[0]};" in why_refused(one.flush)
    one.close()


def test_a_reader_is_told_too_where_the_right_was_taken_away_meanwhile(cluster: Cluster, bench: Bench):
    settings, topic = cluster.of("reader", bench), bench.names.of(DEAD_LETTERS)
    cluster.grant("reader", "Read", topic)
    wait_until(lambda: not _is_refused(TopicReader, settings, DEAD_LETTERS), "the right is there")
    with TopicReader(settings, DEAD_LETTERS) as reader:
        cluster.revoke("reader", "Read", topic)
        with pytest.raises(ClientError, match=f"User:reader lacks Read on the topic {topic}"):
            wait_until(lambda: reader.poll(0.2) and None, "reading is refused")


def flags_of(settings: Settings) -> list[str]:
    return [
        "--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix,
        "--security-protocol", "SASL_PLAINTEXT", "--sasl-mechanism", "PLAIN",
        "--sasl-username", str(settings.sasl_username), "--app-id", settings.app_id,
    ]  # fmt: skip


def test_a_command_of_an_operator_lacks_create_or_its_group(cluster: Cluster, bench: Bench):
    settings = cluster.of("operator", bench)
    flags = [one for one in flags_of(settings) if one not in ("--app-id", settings.app_id)]
    words = refusal(rankstream("topics", "create", *flags, sasl_password=PASSWORD))
    assert "User:operator lacks Create and Describe on the topics" in words
    for topic in (ACTIONS, DEAD_LETTERS):
        for operation in ("Read", "Write"):
            cluster.grant("operator", operation, bench.names.of(topic))
    wait_until(lambda: not _is_refused(RawProducer, settings, [bench.names.of(DEAD_LETTERS)]), "the rights are there")
    skip = ("skip", "--partition", 0, "--to-offset", 1, "--yes")
    words = refusal(rankstream(*skip, *flags_of(settings), sasl_password=PASSWORD))
    assert f"User:operator lacks Read on the group {settings.app_id};" in words
    assert words.endswith(f"--operation Read --group {settings.app_id}")


def test_a_worker_without_any_right_says_all_that_it_lacks_in_one_sentence(
    cluster: Cluster, bench: Bench, tmp_path: Path
):
    settings = cluster.of("bare", bench)
    bundle = a_bundle(tmp_path / "bundle", num_items=5)
    command = [sys.executable, "-m", "rankstream.cli.main", "worker", "--bundle", str(bundle), *flags_of(settings)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RANKSTREAM_SASL_PASSWORD": PASSWORD}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 2, done.stderr
    (words,) = [line for line in done.stderr.splitlines() if line.startswith("rankstream: ")]
    parts = (
        f"User:bare lacks Read on the topics {bench.names.of(ACTIONS)}, {bench.names.of(REQUESTS)}",
        "Read and Write and DescribeConfigs on the topic",
        f"Read on the group {settings.app_id}",
    )
    for part in parts:
        assert part in words
    assert "Traceback" not in done.stderr


def granted(cluster: Cluster, bench: Bench) -> Settings:
    """Grant the worker all that it needs but transactions, and return its settings."""
    settings = cluster.of("worker", bench)
    for name, operations in NEEDED.items():
        for operation in operations:
            cluster.grant("worker", operation, bench.settings.topic_prefix + name)
    cluster.grant("worker", "Read", settings.app_id, "group")
    wait_until(lambda: not _lacks(settings), "the rights are there")
    return settings


def _lacks(settings: Settings) -> bool:
    try:
        require_rights(settings)
    except ClientError:
        return True
    return False


def test_a_worker_lacks_its_transactional_ids_and_with_them_it_serves(cluster: Cluster, bench: Bench, tmp_path: Path):
    settings = granted(cluster, bench)
    worker = Worker(settings, tmp_path / "refused.log")
    assert worker.process.wait(PATIENCE_S) != 0
    sentence = f"User:worker lacks Write and Describe on the transactional ids that begin with {settings.app_id};"
    assert sentence in worker.log
    assert f"--transactional-id {settings.app_id} --resource-pattern-type prefixed" in worker.log
    cluster.grant("worker", "Write", settings.app_id, "transactional-id", prefixed=True)
    worker = Worker(settings, tmp_path / "serves.log")
    worker.wait_ready()
    bench.send_requests(3)
    bench.wait_committed(3)
    cluster.revoke("worker", "Write", bench.names.of(FEEDS))
    wait_until(lambda: _lacks(settings), "the right is gone")
    bench.send_requests(3)
    assert worker.process.wait(PATIENCE_S) != 0
    assert f"User:worker lacks Write on the topic {bench.names.of(FEEDS)} " in worker.log


TAKEN = {  # while it serves: an operation, of what, and what is said
    "actions": ("Read", "topic", "lacks Read on the topic {actions} (or there is no such topic);"),
    "group": ("Read", "group", "lacks Read on the group {app};"),
    "changelog": ("Write", "topic", "lacks Write on the topic {changelog};"),
    "transactions": ("Write", "transactional-id", "lacks Write and Describe on the transactional ids that begin with"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_a_worker_that_loses_a_right_names_it_as_it_ends_and_goes_on_where_it_is_given_back(
    cluster: Cluster, bench: Bench, tmp_path: Path, what: str
):
    settings, (operation, kind, said) = granted(cluster, bench), TAKEN[what]
    names = {"actions": bench.names.of(ACTIONS), "changelog": bench.names.of(CHANGELOG)}
    right = (operation, names.get(what, settings.app_id), kind, kind == "transactional-id")
    cluster.grant("worker", "Write", settings.app_id, "transactional-id", prefixed=True)
    worker = Worker(settings, tmp_path / "loses.log")
    worker.wait_ready()
    bench.send_actions(100)
    bench.wait_committed(100)
    cluster.revoke("worker", *right)
    bench.send_actions(100, start=100)
    assert worker.process.wait(PATIENCE_S) != 0
    (told,) = [line for line in worker.log.splitlines() if "the worker ends: " in line]
    assert f"User:worker {said.format(**names, app=settings.app_id)}" in told
    cluster.grant("worker", *right)
    wait_until(lambda: not _lacks(settings), "the right is there")
    again = Worker(settings, tmp_path / "again.log")
    bench.wait_committed(200)
    assert again.terminate() == 0
    assert bench.states() == bench.expected_states()
