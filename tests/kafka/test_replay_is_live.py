"""What a worker served, killed in the middle and started again, is what the log reproduces, bit for bit."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rankstream.content.filters import ItemFilters
from rankstream.content.items import Item
from rankstream.events.action_event import ActionEvent
from rankstream.events.dumps import dump_path, read_dump, write_dump
from rankstream.features.ids import id_bytes
from rankstream.ranking.request import RankingRequest
from rankstream.retrieval.index import choice
from rankstream.streams.codec import ServedFeatures
from rankstream.streams.topics import ACTIONS, ITEM_UPDATES, REQUESTS, SERVED, prepare_topics
from tests.builders.bundle import a_bundle, a_user_table
from tests.builders.catalogue import DAY_MS
from tests.builders.cli import connected, rankstream
from tests.builders.graph import publish_boards
from tests.builders.interests import publish_some as publish_interests_of
from tests.builders.item_counts import publish_some
from tests.builders.live_items import publish_items
from tests.builders.served import changed, some_events
from tests.kafka.harness import Bench, following

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ACTIONS_SENT, REQUESTS_SENT, ROUNDS = 20_000, 1_000, 50
INDEX_FROM = 201  # items: the bundle's 200 are all compared
BOARDS = [(f"b{item // 4}", item) for item in range(1, 201)]
USERS: list[int | str] = [f"u{n}" for n in range(40)]
EVENTS = some_events(ACTIONS_SENT, users=USERS)[:ACTIONS_SENT]
_encode = msgspec.json.Encoder().encode


def send_round(bench: Bench, number: int) -> None:
    """Send a part of the actions and, among them, a part of the requests, as of the time of the newest action."""
    actions, requests = ACTIONS_SENT // ROUNDS, REQUESTS_SENT // ROUNDS
    first, each = number * actions, actions // requests
    for n, event in enumerate(EVENTS[first : first + actions], start=first):
        bench.send(ACTIONS, id_bytes(event.user_id), _encode(event))
        if n % each == 0:
            user = "unknown" if n % 900 == 0 else USERS[n * 7919 % len(USERS)]
            bench.send(REQUESTS, id_bytes(user), _encode(a_question(n // each, user, event.timestamp_ms)))
    send_items(bench, number)
    bench.producer.flush()


def a_question(number: int, user: int | str, at_ms: int) -> RankingRequest:
    """A request with candidates, or one of three for what can be had, now and then within a range of prices."""
    if number % 3:
        candidates = tuple(1 + (number * 20 * k) % 230 for k in range(1, 21))
        return RankingRequest(f"r{number}", user, candidates=candidates, timestamp_ms=at_ms)
    filters = ItemFilters(price_max=150.0) if number % 2 else None
    return RankingRequest(f"r{number}", user, limit=20, timestamp_ms=at_ms, exclude=(number % 200,), filters=filters)


def send_items(bench: Bench, number: int) -> None:
    """Send what is new in the shop, what is gone from it, and what has another price."""
    for n in range(number * 4, number * 4 + 4):
        item = Item(n, price=float(n), created_at_ms=EVENTS[0].timestamp_ms - 1_000 * DAY_MS)
        bench.send(ITEM_UPDATES, id_bytes(n), _encode(item))
        new = Item(f"new-{n}", price=float(n), created_at_ms=EVENTS[number * 400].timestamp_ms)
        bench.send(ITEM_UPDATES, id_bytes(new.id), _encode(new))
    bench.producer.send(bench.names.of(ITEM_UPDATES), None, id_bytes(number))
    bench.send(ITEM_UPDATES, b"1", _encode(Item(1, title="round", price=float(number))))


def send_rounds(bench: Bench, numbers: range) -> None:
    for number in numbers:
        send_round(bench, number)
        time.sleep(0.05)  # so that requests see users in all states, not in the last ones only


def ran(bench: Bench, command: str, *flags: object) -> tuple[int, dict[str, Any]]:
    """Run the command; return how it ended and what it found."""
    settings = bench.settings
    models = ["--bundle", settings.bundle, "--user-vectors", settings.user_vectors]
    models += ["--item-counts", settings.item_counts, "--item-vectors", settings.item_vectors]
    models += ["--catalogue", settings.catalogue, "--graph", settings.graph, "--interests", settings.interests]
    result = rankstream(command, *models, "--history-limit", settings.history_limit, "--json", *flags)
    assert result.stdout, (result.stderr, result.exception)
    return result.exit_code, json.loads(result.stdout)


def searched(bench: Bench) -> set[Any]:
    """Return the indexes that answers say they were found in; UNSET where all items were compared."""
    decode = msgspec.json.Decoder(ServedFeatures).decode
    return {decode(record.value).item_index for record in bench.read(SERVED)}


def proposing(bench: Bench) -> set[str]:
    """Return the sources of all items that were served."""
    decode = msgspec.json.Decoder(ServedFeatures).decode
    return {item.source for record in bench.read(SERVED) for item in decode(record.value).items if item.source}


def ask_once(bench: Bench) -> None:
    """Let one more user act, and ask when that is known: the only answer that is made from these actions."""
    for item in range(1, 6):
        event = ActionEvent("once", item, "save", EVENTS[-1].timestamp_ms + item)
        bench.send(ACTIONS, b"once", _encode(event))
    bench.producer.flush()
    bench.wait_committed(ACTIONS_SENT + 5, ACTIONS)
    ask = RankingRequest("once", "once", candidates=(7, 8, 9), timestamp_ms=EVENTS[-1].timestamp_ms + 60_000)
    bench.send(REQUESTS, b"once", _encode(ask))
    bench.producer.flush()
    bench.wait_committed(ACTIONS_SENT + 5 + REQUESTS_SENT + 1)


def tamper(folder: Path) -> None:
    """Change one action of the user with one request."""
    path = dump_path(folder, "user-actions")
    actions = list(read_dump(path, "user-actions"))
    (*_, last) = (one for one in actions if one.key == b"once")
    write_dump(path, [changed(one, item_id=229) if one is last else one for one in actions])


def test_verify_finds_no_difference_after_a_kill_and_exactly_the_one_request_that_was_tampered_with(
    bench, tmp_path, monkeypatch
):
    monkeypatch.setattr(choice, "EXACT_BELOW", INDEX_FROM)
    bundle, vectors = a_bundle(tmp_path / "bundle"), a_user_table(tmp_path / "users", USERS[:30])
    counts, items = tmp_path / "counts", tmp_path / "items"
    tables = {"user_vectors": vectors, "item_counts": counts, "item_vectors": items}
    bench.settings = replace(
        bench.settings, bundle=bundle, **tables, served_features=True, history_limit=50,
        catalogue=tmp_path / "catalogue", graph=tmp_path / "graph", interests=tmp_path / "interests",
    )  # fmt: skip
    asyncio.run(prepare_topics(bench.settings, create=True))
    send_items(bench, 0)
    bench.producer.flush()
    with following(bench):
        worker = bench.worker(SERVE="bundle", SLOW_MS="15", INDEX_FROM=str(INDEX_FROM))
        worker.wait_ready()
        send_rounds(bench, range(20))
        a_user_table(vectors, USERS, seed=12)  # a new version of the user vectors, and first ones of all else
        publish_some(counts, seed=5)
        publish_items(items, ["new item"], seed=5)
        publish_boards(bench.settings.graph, BOARDS)
        publish_interests_of(bench.settings.interests, USERS[:30], seed=5)
        send_rounds(bench, range(20, 24))
        bench.wait_committed(2_000, ACTIONS)
        bench.wait_committed(20, REQUESTS)
        worker.pause()  # or it could be done with all that was sent before it is killed
        send_round(bench, 24)
        worker.kill()
    assert bench.committed(ACTIONS) < ACTIONS_SENT / 2, "no work remained at the kill, so nothing was tested"
    send_items(bench, 26)
    bench.producer.flush()
    with following(bench):
        again = bench.worker(SERVE="bundle", SLOW_MS="3", INDEX_FROM=str(INDEX_FROM))
        send_rounds(bench, range(25, 40))
        bench.wait_committed(600, REQUESTS)
        publish_some(counts, seed=6)
        publish_items(items, ["new item", "another"], seed=6)
        publish_boards(bench.settings.graph, BOARDS[::2])
        publish_interests_of(bench.settings.interests, USERS, seed=6)
        time.sleep(2)  # it is noticed within a second
        send_rounds(bench, range(40, ROUNDS))
        ask_once(bench)
    assert again.terminate() == 0

    ended, report = ran(bench, "verify", *connected(bench.settings))
    assert (ended, report["differences"], report["unverified"]) == (0, [], {})
    assert report["requests"] == REQUESTS_SENT + 1 <= report["verified"] == report["answers"]
    assert [len(report[name]) for name in tables] == [2, 2, 2]
    assert len(report["catalogues"]) >= 2  # how many are served depends on how fast the machine follows
    assert [len(report[name]) for name in ("graphs", "interests")] == [2, 2]
    assert {"interest:1", "interest:4", "walk", "new"} <= proposing(bench)  # the fourth: sampled
    assert len(searched(bench)) == 3  # all compared, then an index of each version of the item vectors

    _, explained = ran(bench, "explain", "--request", "once", *connected(bench.settings))
    assert explained["identical"]
    assert [action["item_id"] for action in explained["history"]] == [5, 4, 3, 2, 1]

    dump = tmp_path / "dump"
    assert rankstream("topics", "dump", dump, *connected(bench.settings)).exit_code == 0
    tamper(dump)
    ended, report = ran(bench, "verify", "--from", dump)
    assert ended == 1
    assert [one["request_id"] for one in report["differences"]] == ["once"]
    assert "features" in report["differences"][0]["fields"]
    assert report["verified"] == report["answers"] - 1
