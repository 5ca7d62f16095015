"""The examples run as they stand, are short, and find what they promise."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankstream.gateway.kafka_road import KafkaRoad
from rankstream.streams.clients.item_updates import CatalogueFollower
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, prepare_topics
from tests.builders.bundle import a_bundle
from tests.builders.gateway import RunningGateway
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name, *args):
    """Run an example as a user would."""
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=False)


@pytest.fixture(scope="module")
def worker(bootstrap_servers, tmp_path_factory):
    """A worker of a tiny bundle on the topics without a prefix, as examples use them."""
    folder = tmp_path_factory.mktemp("worker")
    log = (folder / "log").open("wb")
    flags = {
        "bundle": a_bundle(folder / "bundle"), "bootstrap-servers": bootstrap_servers, "state-dir": folder / "state",
        "app-id": "examples", "partitions": 2, "session-timeout-s": 6, "heartbeat-interval-s": 1,
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "rankstream.cli.main",
        "worker",
        *(f"--{name}={value}" for name, value in flags.items()),
    ]
    with subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT) as process:
        deadline = time.monotonic() + PATIENCE_S
        while b"Worker ready" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield process
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, (folder / "log").read_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_under_forty_lines(path):
    assert len(path.read_text().splitlines()) < 40


@pytest.mark.broker
def test_what_is_produced_is_consumed_ranked(worker, bootstrap_servers):
    assert run("produce.py", bootstrap_servers).stdout == "sent 3 actions of user 7\n"
    consumed = run("consume.py", bootstrap_servers)
    assert consumed.returncode == 0, consumed.stderr
    lines = consumed.stdout.splitlines()
    assert lines[0].startswith("answered after ")
    assert len(lines) == 4
    assert {line.split()[1] for line in lines[1:]} < {"10", "11", "12", "13"}


@pytest.fixture(scope="module")
def gateway(worker, bootstrap_servers):
    road = KafkaRoad(Settings(bootstrap_servers=bootstrap_servers), ack_timeout_s=10)
    with RunningGateway(road, answer_timeout_ms=20_000) as running:
        yield running


@pytest.mark.broker
def test_what_is_sent_through_the_gateway_is_ranked(gateway):
    asked = run("gateway_client.py", gateway.address)
    assert asked.returncode == 0, asked.stderr
    lines = asked.stdout.splitlines()
    assert lines[0] == "sent 3 actions of user 7"
    assert re.fullmatch(r"answered after [\d.]+ ms; \d+ actions used", lines[1])
    assert {line.split()[1] for line in lines[2:]} < {"10", "11", "12", "13"}


@pytest.mark.broker
def test_what_others_ask_for_is_followed_through_the_gateway(gateway):
    command = [sys.executable, str(ROOT / "examples" / "gateway_follow.py"), "8", gateway.address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "ready\n"
        while not gateway.gateway.board._followers:
            time.sleep(0.05)
        gateway.call("POST", "/rank", {"request_id": "followed", "user_id": 8, "candidates": [1]})
        assert process.stdout.readline() == "followed [1]\n"
        process.kill()


def test_without_a_gateway_the_example_ends_with_one_sentence():
    done = run("gateway_follow.py", 7, "http://127.0.0.1:1")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.broker
def test_the_producer_keys_records_as_workers_want_them(worker, bootstrap_servers):
    run("produce.py", bootstrap_servers)
    settings = Settings(bootstrap_servers=bootstrap_servers)
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        assert {record.key for record in reader.read_all()} == {b"7"}


@pytest.mark.broker
def test_items_that_are_sent_become_a_catalogue(bootstrap_servers, tmp_path):
    settings = Settings(bootstrap_servers=bootstrap_servers, partitions=2)
    asyncio.run(prepare_topics(settings, create=True))
    assert run("items.py", bootstrap_servers).stdout == "sent 3 items\n"
    with CatalogueFollower(settings, tmp_path) as follower:
        follower.read_to_end()
    assert follower.catalogue.titles(range(3)) == ["Trail X", "Road Y", "Sandal Z"]


def test_ranking_without_kafka_and_without_a_model():
    done = run("rank_in_process.py")
    assert done.returncode == 0, done.stderr
    assert '"actions_used": 1' in done.stdout
    assert done.stdout.endswith("0 dead letters\n")


def test_ranking_without_kafka_with_a_bundle(tmp_path):
    done = run("rank_in_process.py", a_bundle(tmp_path / "bundle"))
    assert done.returncode == 0, done.stderr
    feed = json.loads(done.stdout.removesuffix("0 dead letters\n"))
    scores = [item["score"] for item in feed["items"]]
    assert feed["model_version"] == "tiny-1"
    assert scores == sorted(scores, reverse=True)
    assert set(feed["items"][0]["probabilities"]) == {"save", "click", "hide"}
