"""The blocks of docs/integrate.md run as they stand, where what they are written in is installed."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.codec import RankedFeed
from rankstream.streams.partitioner import partition_of
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, REQUESTS, prepare_topics
from tests.builders.gateway import RunningGateway
from tests.builders.patience import PATIENCE_S
from tests.builders.registry import a_registry, of_registry
from tests.cli.test_feeds import send

PAGE = (Path(__file__).parents[1] / "docs" / "integrate.md").read_text()
TOKEN = "0123456789abcdef"


def block(way, heading):
    """The first block of code below a heading of one of the two ways."""
    part = PAGE.split(f"\n## {way}\n")[1].split("\n## ")[0].split(f"\n### {heading}\n")[1].split("\n### ")[0]
    return re.search(r"```\w+\n(.*?)```", part, re.DOTALL)[1]


def run(program, name, text, folder, *options, within=None, **environment):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    (folder / name).write_text(text)
    command = [program, *options, str(folder / name)]
    environment = os.environ | environment
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=False, cwd=within
    )


@pytest.fixture(scope="module")
def gateway():
    with RunningGateway(token=TOKEN) as running:
        yield running


@pytest.mark.parametrize(
    ("heading", "program", "name"),
    [
        ("curl", "bash", "ask.sh"),
        ("Python", sys.executable, "ask.py"),
        ("Node", "node", "ask.mjs"),
        pytest.param("Java", "java", "AskGateway.java", marks=(pytest.mark.broker, pytest.mark.slow)),
        pytest.param("Go", "go", "ask.go", marks=(pytest.mark.broker, pytest.mark.slow)),
    ],
)
def test_a_feed_is_asked_for_through_the_gateway(gateway, pytestconfig, tmp_path, heading, program, name):
    if program in ("java", "go") and pytestconfig.getoption("--broker") != "kafka":
        pytest.skip("it compiles for ten seconds: where Apache Kafka is tested, which takes its time anyway")
    options = ["run"] if program == "go" else []
    before = gateway.call("POST", "/rank", {"user_id": 7, "limit": 1}, Authorization=f"Bearer {TOKEN}").document
    text, environment = block("Through the gateway", heading), {"GATEWAY": gateway.address, "TOKEN": TOKEN}
    done = run(program, name, text, tmp_path, *options, **environment)
    assert done.returncode == 0, done.stderr
    after = gateway.call("POST", "/rank", {"user_id": 7, "limit": 1}, Authorization=f"Bearer {TOKEN}").document
    assert after["actions_used"] == before["actions_used"] + 1
    assert "items" in done.stdout or done.stdout.strip() == "[]"


@pytest.mark.broker
@pytest.mark.slow  # it compiles first
def test_java_keys_what_it_sends_and_finds_its_feed(broker, tmp_path):
    if not broker.is_kafka or not os.environ.get("KAFKA_HOME"):
        pytest.skip("the Java client comes with an Apache Kafka")
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, partitions=4)
    asyncio.run(prepare_topics(settings))
    with TopicReader(settings, ACTIONS) as actions, TopicReader(settings, REQUESTS) as requests:
        worker = threading.Thread(target=answer_next, args=(settings, requests))
        worker.start()
        libraries = f"{os.environ['KAFKA_HOME']}/libs/*"
        text, servers = block("Through Kafka", "Java"), settings.bootstrap_servers
        done = run("java", "AskKafka.java", text, tmp_path, "-cp", libraries, SERVERS=servers)
        worker.join()
        assert json.loads(done.stdout)["user_id"] == 7, done.stderr
        sent = actions.poll(5)
        partitions = len(actions.partitions)
    assert [(one.key, one.partition) for one in sent] == [(b"7", partition_of(b"7", partitions))]


@pytest.mark.broker
@pytest.mark.parametrize(
    ("heading", "program", "name"),
    [("kcat, and all that is built on librdkafka", "kcat", "send.sh"), ("Node, with KafkaJS", "node", "send.mjs")],
    ids=["kcat", "KafkaJS"],
)
def test_other_clients_put_a_user_where_his_worker_looks(broker, tmp_path, heading, program, name):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    if program == "node":
        link_kafkajs(tmp_path)
    elif not broker.is_kafka:
        pytest.skip("librdkafka does not understand which versions the embedded broker says it has")
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, partitions=4)
    asyncio.run(prepare_topics(settings))
    with TopicReader(settings, ACTIONS) as actions:
        runs = "bash" if name.endswith(".sh") else program
        text, servers = block("Through Kafka", heading), settings.bootstrap_servers
        done = run(runs, name, text, tmp_path, SERVERS=servers)
        assert done.returncode == 0, done.stderr
        (sent,) = actions.poll(10)
        partitions = len(actions.partitions)
    assert (sent.key, sent.partition) == (b"7", partition_of(b"7", partitions))
    assert json.loads(sent.value)["item_id"] == 11


@pytest.mark.broker
def test_confluents_serializer_writes_what_is_read_beside_json(broker, tmp_path):
    pytest.importorskip("confluent_kafka.schema_registry.avro", reason="confluent-kafka[avro] is not installed")
    if not broker.is_kafka:
        pytest.skip("librdkafka does not understand which versions the embedded broker says it has")
    with a_registry() as registry:
        settings = of_registry(registry, bootstrap_servers=broker.bootstrap_servers, partitions=4)
        asyncio.run(prepare_topics(settings))
        with TopicReader(settings, ACTIONS) as actions:
            text = block("Through Kafka", "Avro or Protobuf, with a schema registry")
            of_topic = str(Path(__file__).parents[1] / "docs" / "schemas" / "user-actions.avsc")
            given = {"SERVERS": broker.bootstrap_servers, "REGISTRY": registry.url, "SCHEMA": of_topic}
            done = run(sys.executable, "send.py", text, tmp_path, **given)
            assert done.returncode == 0, done.stderr
            (sent,) = actions.poll(10)
            partitions = len(actions.partitions)
    assert (sent.key, sent.partition, sent.framed[:5]) == (b"7", partition_of(b"7", partitions), b"\0\0\0\0\1")
    assert json.loads(sent.value)["item_id"] == 11


@pytest.mark.broker
@pytest.mark.slow  # it compiles first
def test_go_keys_what_it_sends_and_finds_its_feed(broker, tmp_path):
    home = kafkago_home()
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, partitions=4)
    asyncio.run(prepare_topics(settings))
    with TopicReader(settings, ACTIONS) as actions, TopicReader(settings, REQUESTS) as requests:
        worker = threading.Thread(target=answer_next, args=(settings, requests))
        worker.start()
        text, servers = block("Through Kafka", "Go, with kafka-go"), settings.bootstrap_servers
        done = run("go", "ask.go", text, tmp_path, "run", within=home, SERVERS=servers)
        worker.join()
        assert json.loads(done.stdout)["user_id"] == 7, done.stderr
        sent = actions.poll(5)
        partitions = len(actions.partitions)
    assert [(one.key, one.partition) for one in sent] == [(b"7", partition_of(b"7", partitions))]


PARTITIONS_OF = """
package main

import (
	"fmt"
	"os"

	"github.com/segmentio/kafka-go"
)

func main() {
	for _, key := range os.Args[1:] {
		fmt.Println(kafka.Murmur2Balancer{}.Balance(kafka.Message{Key: []byte(key)}, 0, 1, 2, 3, 4, 5, 6))
	}
}
"""


@pytest.mark.slow  # it compiles first
def test_the_balancer_of_kafka_go_chooses_the_partitions_of_javas_client(tmp_path):
    """Of keys of all lengths; ``partition_of`` is held to Java's in its own tests."""
    home, keys = kafkago_home(), [*map(str, range(300)), *("ключ"[:length] for length in range(1, 5)), "x" * 31]
    (tmp_path / "partitions.go").write_text(PARTITIONS_OF)
    command = ["go", "run", str(tmp_path / "partitions.go"), *keys]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True, cwd=home)
    assert [*map(int, done.stdout.split())] == [partition_of(key.encode(), 7) for key in keys]


def kafkago_home():
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    home = os.environ.get("KAFKAGO_HOME")
    if not home:
        pytest.skip("KAFKAGO_HOME names no folder where `go get github.com/segmentio/kafka-go` was run")
    return Path(home).resolve()


def link_kafkajs(folder):
    home = os.environ.get("KAFKAJS_HOME")
    if not home:
        pytest.skip("KAFKAJS_HOME names no folder where `npm install kafkajs` was run")
    (folder / "node_modules").symlink_to(Path(home).resolve() / "node_modules")


def answer_next(settings, requests):
    """Play the worker of one request."""
    found = []
    while not found:
        found = requests.poll(1)
    feed = RankedFeed(json.loads(found[0].value)["request_id"], 7, 1, items=[])
    send(settings, feed)
