"""An item that was just put into the shop is in feeds seconds later, and one that is gone is not; nothing restarts.

Nor does it where a graph of boards is published: the next feed walks through it.
"""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from rankstream.content.items import Item
from rankstream.features.ids import Id, id_bytes
from rankstream.streams.broker import free_port
from rankstream.streams.topics import ACTIONS, FEEDS, ITEM_UPDATES, REQUESTS, prepare_topics
from tests.builders.bundle import a_bundle
from tests.builders.graph import publish_boards
from tests.builders.live_items import NEW, publish_items
from tests.kafka.harness import Bench, following, page, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def put(bench: Bench, item_id: Id) -> None:
    item = Item(item_id, created_at_ms=int(time.time() * 1000))
    bench.send(ITEM_UPDATES, id_bytes(item_id), msgspec.json.encode(item))
    bench.producer.flush()


def take_away(bench: Bench, item_id: Id) -> None:
    bench.producer.send(bench.names.of(ITEM_UPDATES), None, id_bytes(item_id))
    bench.producer.flush()


def feed(bench: Bench, limit: int = 50) -> dict[Id, str]:
    """Ask for a feed; return the source of each item."""
    before = bench.feeds().total()
    bench.send(REQUESTS, b"u1", json.dumps({"request_id": f"r{before}", "user_id": "u1", "limit": limit}).encode())
    bench.producer.flush()
    wait_until(lambda: bench.feeds().total() > before, "the request is answered")
    answers = (json.loads(record.value) for record in bench.read(FEEDS))
    found = next(one for one in answers if one["request_id"] == f"r{before}")
    return {item["item_id"]: item.get("source", "") for item in found["items"]}


def test_what_is_new_comes_into_feeds_and_what_is_gone_leaves_them(bench: Bench, tmp_path: Path):
    bench.settings = replace(bench.settings, bundle=a_bundle(tmp_path / "bundle"), catalogue=tmp_path / "catalogue")
    asyncio.run(prepare_topics(bench.settings, create=True))
    put(bench, 1)
    with following(bench):
        worker = bench.worker(SERVE="bundle")
        worker.wait_ready()
        assert set(feed(bench)) == {1}
        started = time.monotonic()
        put(bench, "brand new")
        wait_until(lambda: feed(bench).get("brand new") == "new", "the new item is proposed")
        print(f"\nin a feed {time.monotonic() - started:.1f} s after it was sent")
        take_away(bench, 1)
        wait_until(lambda: set(feed(bench)) == {"brand new"}, "what is gone is not proposed")
    assert worker.terminate() == 0


def test_a_worker_that_nobody_asks_serves_what_is_published_all_the_same(bench: Bench, tmp_path: Path):
    """The first request after a quiet time is not answered by what served before it."""
    folders = {"item_vectors": tmp_path / "items", "graph": tmp_path / "graph"}
    bundle = a_bundle(tmp_path / "bundle")
    bench.settings = replace(bench.settings, bundle=bundle, **folders, web_port=free_port())
    asyncio.run(prepare_topics(bench.settings, create=True))
    worker = bench.worker(SERVE="bundle")
    worker.wait_ready()
    published = {"item_vectors": publish_items(folders["item_vectors"])}
    published["graph"] = publish_boards(folders["graph"], [("b1", 5), ("b1", 6)])

    def serves() -> bool:
        versions = page(bench.settings.web_port)[1].get("versions", {})
        return {kind: one["version"] for kind, one in versions.items()}.items() >= published.items()

    wait_until(serves, "what was published serves")
    assert NEW in feed(bench, limit=201)
    assert worker.terminate() == 0


def test_a_graph_that_is_published_is_walked_from_what_the_user_did(bench: Bench, tmp_path: Path):
    bench.settings = replace(bench.settings, bundle=a_bundle(tmp_path / "bundle"), graph=tmp_path / "graph")
    asyncio.run(prepare_topics(bench.settings, create=True))
    saved = {"user_id": "u1", "item_id": 5, "action": "save", "timestamp_ms": int(time.time() * 1000)}
    bench.send(ACTIONS, b"u1", json.dumps(saved).encode())
    bench.producer.flush()
    worker = bench.worker(SERVE="bundle")
    worker.wait_ready()
    assert "board-walk" not in feed(bench).values()
    publish_boards(tmp_path / "graph", [("b1", 5), ("b1", 6), ("b2", 6), ("b2", 7)])
    walked = {6: "board-walk", 7: "board-walk"}
    wait_until(lambda: feed(bench).items() >= walked.items(), "the boards are walked")
    assert worker.terminate() == 0
