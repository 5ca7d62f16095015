"""A bundle in the shadow of the one that serves, on two workers with live requests, by the command for it."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from time import sleep

import pytest

from rankstream.cli.commands import deploy
from rankstream.features.files import current_name
from rankstream.ranking.bundle import use_bundle
from rankstream.ranking.shadow import report
from rankstream.ranking.trial import Trial
from rankstream.streams.broker import free_port
from rankstream.streams.topics import FEEDS, REQUESTS
from tests.builders.bundle import a_bundle
from tests.builders.cli import connected, rankstream, refusal
from tests.builders.faulty_bundle import a_slow_bundle
from tests.kafka.harness import Bench, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def enough(monkeypatch):
    """Fewer comparisons than a verdict should be of: this machine may be busy."""
    monkeypatch.setattr(report, "LEAST", 5)


@pytest.fixture
def live(bench: Bench) -> Iterator[Bench]:
    """Two workers that serve the bundle "old", and requests all the while."""
    bundles = bench.folder / "bundles"
    a_bundle(bundles / "old", model_version="old")
    use_bundle(bundles, "old")
    bench.create_topics()
    bench.settings = replace(bench.settings, bundle=bundles, web_port=free_port())
    workers = [bench.worker("A", "a", SERVE="1"), bench.worker("B", "b", SERVE="1", RANKSTREAM_WEB_PORT="0")]
    for worker in workers:
        worker.wait_ready()
    ended = threading.Event()
    thread = threading.Thread(target=ask, args=(bench, ended))
    thread.start()
    yield bench
    ended.set()
    thread.join()


def ask(bench: Bench, ended: threading.Event) -> None:
    number = 0
    while not ended.is_set():
        user = f"u{number % 40}"
        request = {"request_id": f"r{number}", "user_id": user, "candidates": list(range(1, 41))}
        bench.send(REQUESTS, user.encode(), json.dumps(request).encode())
        number += 1
        sleep(0.01)


def page_of(bench: Bench, name: str = "deployment") -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{bench.settings.web_port}/{name}", timeout=5) as answer:
        return json.loads(answer.read())


def deployed(bench: Bench, *more: object):
    flags = ("--app-id", bench.settings.app_id, "--shadow-minutes", 0.04, "--shadow-share", 1, "--requests", 10)
    return rankstream("deploy", bench.settings.bundle, "new", *flags, *connected(bench.settings), *more)


def test_a_bundle_is_refused_or_swapped_in_by_what_all_workers_saw_of_it(live, monkeypatch):
    """In one test, as starting the workers takes longest."""
    a_slow_bundle(live.settings.bundle / "new", model_version="slow")
    with monkeypatch.context() as patch:
        patch.setattr(deploy, "trial", lambda *given: Trial(1.0, 1.0, 10.0))  # would have refused it
        words = refusal(deployed(live, "--slower", 3))
    assert "new does not serve, old goes on: it takes" in words
    assert current_name(live.settings.bundle) == "old"
    reason = wait_until(lambda: page_of(live)["deployment"]["reason"], "the worker has read how it ended")
    assert reason in words

    a_bundle(live.settings.bundle / "new", model_version="new")
    found = json.loads(deployed(live, "--slower", 100, "--watch-s", 2, "--json").stdout)
    assert found["shadow"]["workers"] == 2
    assert (found["shadow"]["overlap"]["low"], found["shadow"]["errors"]) == (1.0, {})
    assert current_name(live.settings.bundle) == "new"
    wait_until(lambda: page_of(live)["deployment"]["stage"] == "serves", "the worker has read that it serves")
    figures = page_of(live, "figures")
    assert figures["partitions"] > 0
    assert figures["requests"] > 100
    assert figures["checkpoint_age_s"] < 30

    feeds = [json.loads(record.value) for record in live.read(FEEDS)]
    assert [feed for feed in feeds if "error" in feed] == []
    assert {feed["model_version"] for feed in feeds} == {"old", "new"}
