"""Items counted by the minute beside a worker: it follows each version, and what it served is reproduced to the bit."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest

from rankstream.features.embeddings.files import versions
from rankstream.features.files import current_name
from rankstream.features.ids import id_bytes
from rankstream.ranking.request import RankingRequest
from rankstream.streams.broker import free_port
from rankstream.streams.codec import ServedFeatures
from rankstream.streams.topics import ACTIONS, REQUESTS, SERVED, prepare_topics
from tests.builders.cli import connected, rankstream
from tests.builders.item_counts import a_following_bundle
from tests.builders.replay import Row
from tests.kafka.harness import ROOT, Bench, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

USERS = [f"u{number}" for number in range(12)]
_decode = msgspec.json.Decoder(ServedFeatures).decode


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def act(bench: Bench, item: int) -> int:
    """All users view item 1 and then save this one, all at one time, which is returned."""
    at_ms = now_ms()
    for user in USERS:
        for one, action in ((1, "view"), (item, "save")):
            event = {"user_id": user, "item_id": one, "action": action, "timestamp_ms": at_ms}
            topic = bench.names.of(ACTIONS)
            bench.producer.send(topic, json.dumps(event).encode(), user.encode(), timestamp_ms=at_ms)
    bench.producer.flush()
    return at_ms


class Asking:
    """Asks for all users, round by round."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.rounds = bench, 0

    def until_served_with(self, version: str) -> None:
        """Ask until a round is answered with this version: workers look for it each second, as requests come."""
        wait_until(lambda: self.versions_of_a_round() == {version}, f"{version} serves", every_s=1.0)

    def versions_of_a_round(self) -> set[str | None]:
        self.rounds += 1
        for user in USERS:
            request = RankingRequest(f"{self.rounds}-{user}", user, candidates=tuple(range(2, 30)))
            self.bench.send(REQUESTS, id_bytes(user), msgspec.json.encode(request))
        self.bench.producer.flush()
        self.bench.wait_committed(self.rounds * len(USERS), REQUESTS)
        found = (_decode(record.value) for record in self.bench.read(SERVED))
        return {one.item_counts for one in found if str(one.request_id).startswith(f"{self.rounds}-")}


def start_counter(bench: Bench, port: int = 0) -> "subprocess.Popen[str]":
    settings = bench.settings
    words = ["count", "--bundle", settings.bundle, "--to", settings.item_counts, "--every", "2s", "--grace", "0s"]
    words += ["--keep", "1000", "--web-port", port, *connected(settings)]
    with (bench.folder / "count.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "rankstream.cli.main", *map(str, words)], stderr=log, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=bench.folder,
        )  # fmt: skip


def a_version_after(root: Path, at_ms: int) -> str:
    """Wait for a version that counts what had happened until a time; return its name."""

    def found() -> str | None:
        if not (root / "CURRENT").exists():
            return None
        name = current_name(root)
        return name if json.loads((root / name / "header.json").read_bytes())["as_of_ms"] >= at_ms else None

    return str(wait_until(found, "what was done last is counted", every_s=0.2))


def test_workers_follow_what_is_counted_and_verify_finds_what_they_served(bench: Bench) -> None:
    trained: list[Row] = [(user, 2, "save", now_ms() - 86_400_000) for user in USERS]
    root, port = bench.folder / "item_counts", free_port()
    bench.settings = replace(
        bench.settings, bundle=a_following_bundle(bench.folder / "bundle", trained), item_counts=root,
        served_features=True,
    )  # fmt: skip
    asyncio.run(prepare_topics(bench.settings, create=True))
    worker = bench.worker(SERVE="bundle")
    worker.wait_ready()
    done_ms = act(bench, 7)
    counter = start_counter(bench, port)
    first = a_version_after(root, done_ms)
    bench.wait_committed(2 * len(USERS), ACTIONS)
    asking = Asking(bench)
    asking.until_served_with(first)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        shown = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
    assert float(shown["rankstream_count_actions"]) == 2 * len(USERS)
    assert float(shown["rankstream_count_versions_total"]) >= 1

    counter.send_signal(signal.SIGKILL)
    counter.wait()
    done_ms = act(bench, 9)
    counter = start_counter(bench)
    second = a_version_after(root, done_ms)
    bench.wait_committed(4 * len(USERS), ACTIONS)
    asking.until_served_with(second)
    counter.terminate()
    assert counter.wait(60) == 0
    assert worker.terminate() == 0

    assert (bench.folder / "count.log").read_text().count(" published ") >= 2
    ours = ["--bundle", bench.settings.bundle, "--item-counts", root]
    verified = rankstream("verify", *ours, *connected(bench.settings), "--json")
    report = json.loads(verified.stdout)
    assert (verified.exit_code, report["differences"], report["unverified"]) == (0, [], {})
    assert report["verified"] == asking.rounds * len(USERS)
    assert {first, second} <= set(report["item_counts"])
    assert len(versions(root)) >= 2
