"""Two models side by side on a worker: whose feeds and sessions are whose, through a swap of one and a kill."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from rankstream.features.ids import id_bytes
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.bundle import use_bundle
from rankstream.ranking.experiment import CONTROL, TREATMENT, Assignment
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS, prepare_topics
from tests.builders.actions import records_of
from tests.builders.bundle import a_bundle
from tests.builders.cli import connected, rankstream
from tests.builders.served import some_events
from tests.kafka.harness import Bench, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

USERS = [f"u{number}" for number in range(40)]
EVENTS = some_events(1_000, users=USERS)
ASSIGNMENT = Assignment(0.3, "autumn")
VARIANTS = {user: ASSIGNMENT.variant_of(id_bytes(user)) for user in USERS}
LOOK_S = 0.5  # each look at a topic costs as much CPU time as a hundred answers
HISTORY = 8  # so short that sessions leave it and are folded


def ask(bench: Bench, prefix: str, users: Sequence[str] = USERS) -> None:
    for user in users:
        request = RankingRequest(f"{prefix}-{user}", user, tuple(range(1, 41)), timestamp_ms=EVENTS[-1].timestamp_ms)
        bench.send(REQUESTS, id_bytes(user), msgspec.json.encode(request))
    bench.producer.flush()


def feeds(bench: Bench, prefix: str) -> dict[str, dict[str, Any]]:
    """Return the answers to the requests of this prefix, by user."""
    found = [json.loads(record.value) for record in bench.read(FEEDS)]
    return {feed["user_id"]: feed for feed in found if feed["request_id"].startswith(f"{prefix}-")}


def all_feeds(bench: Bench, prefix: str) -> dict[str, dict[str, Any]]:
    found = lambda: len(answered := feeds(bench, prefix)) == len(USERS) and answered  # noqa: E731
    return wait_until(found, "all are answered", every_s=LOOK_S)


def alone(bench: Bench, bundle: str) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """Return the items of each user's feed and the states of a worker that serves this bundle to everybody."""
    items, states = {}, {}
    serving, logs = LiveRanker.open(bench.folder / bundle), [bench.read(topic) for topic in (ACTIONS, REQUESTS)]
    for partition in range(bench.settings.partitions):
        actions, asked = ([record for record in log if record.partition == partition] for log in logs)
        pipeline = Pipeline(UserCache(MemoryStore(), HISTORY), serving)
        pipeline.on_actions(actions)
        answers = [json.loads(one.value) for one in pipeline.on_requests(asked).answer()]
        items |= {feed["user_id"]: feed["items"] for feed in answers}
        states |= records_of(pipeline)
    return items, states


def test_every_user_has_one_model_and_its_sessions_through_a_swap_of_the_other_and_a_kill(bench: Bench):
    """In one test, as starting the workers takes longest."""
    control, treatment = bench.folder / "control", bench.folder / "treatment"
    a_bundle(control, model_version="old")
    a_bundle(treatment / "new", model_version="new", seed=5)
    use_bundle(treatment, "new")
    bench.settings = replace(
        bench.settings, bundle=control, variant=treatment, variant_share=ASSIGNMENT.share,
        variant_salt=ASSIGNMENT.salt, served_features=True, history_limit=HISTORY,
    )  # fmt: skip
    asyncio.run(prepare_topics(bench.settings, create=True))
    worker = bench.worker(SERVE="1")
    worker.wait_ready()
    for event in EVENTS:
        bench.send(ACTIONS, id_bytes(event.user_id), msgspec.json.encode(event))
    bench.producer.flush()
    wait_until(lambda: bench.committed(ACTIONS) == len(EVENTS), "all actions are applied", every_s=LOOK_S)
    ask(bench, "first")
    first = all_feeds(bench, "first")
    assert {user: feed["variant"] for user, feed in first.items()} == VARIANTS
    assert {(feed["variant"], feed["model_version"]) for feed in first.values()} == {
        (CONTROL, "old"),
        (TREATMENT, "new"),
    }
    of_each = {CONTROL: alone(bench, "control"), TREATMENT: alone(bench, "treatment/new")}
    assert {user: feed["items"] for user, feed in first.items()} == {
        user: of_each[variant][0][user] for user, variant in VARIANTS.items()
    }

    a_bundle(treatment / "newer", model_version="newer", seed=6)
    use_bundle(treatment, "newer")
    swapped = next(user for user in USERS if VARIANTS[user] == TREATMENT)
    ask(bench, "swap", [swapped])  # the first request after the swap makes the worker look for it
    wait_until(lambda: "model newer serves" in worker.log, "the other model serves")
    ask(bench, "second")
    second = all_feeds(bench, "second")
    assert {user: feed["model_version"] for user, feed in second.items()} == {
        user: {CONTROL: "old", TREATMENT: "newer"}[variant] for user, variant in VARIANTS.items()
    }
    kept = [user for user in USERS if second[user]["items"] == first[user]["items"]]
    assert kept == [user for user in USERS if VARIANTS[user] == CONTROL]

    worker.kill()
    again = bench.worker(SERVE="1")
    ask(bench, "third")
    third = all_feeds(bench, "third")
    assert again.terminate() == 0
    assert {user: (feed["variant"], feed["items"]) for user, feed in third.items()} == {
        user: (feed["variant"], feed["items"]) for user, feed in second.items()
    }
    states = bench.states()
    assert states == {key: of_each[VARIANTS[key.decode()]][1][key] for key in states}
    assert len(states) == len(USERS)

    flags = ("--variant", treatment / "new", "--history-limit", HISTORY, "--json", *connected(bench.settings))
    result = rankstream("verify", "--bundle", control, *flags)
    report = json.loads(result.stdout)
    assert (result.exit_code, report["differences"]) == (0, [])
    (reason,) = report["unverified"]
    assert reason.startswith("served by model newer, but the bundle holds old")
    assert report["verified"] == report["answers"] - report["unverified"][reason]
    assert report["verified"] >= len(USERS) + 2 * list(VARIANTS.values()).count(CONTROL)
