"""Bundles swapped in, one after the other, under requests and actions: none fails, each is answered by one of them.

`RANKSTREAM_TEST_SWAPS=100 pytest tests/kafka/test_swaps.py` swaps as often; a worker looks for a new one each second.
"""

import json
import os
import threading
from collections import Counter

import pytest

from rankstream.ranking.bundle import use_bundle
from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS
from tests.builders.bundle import a_bundle
from tests.kafka.harness import Worker, wait_until

SWAPS = int(os.environ.get("RANKSTREAM_TEST_SWAPS", "10"))
MODELS = ("model-a", "model-b")

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120 + 10 * SWAPS)]


def swapped(worker: Worker) -> int:
    """How often a bundle took another one's place."""
    return worker.log.count("serves from now on")


def test_swaps_under_load_fail_no_request(bench):
    bundles = bench.folder / "bundles"
    for seed, model in enumerate(MODELS):
        a_bundle(bundles / model, model_version=model, seed=seed)
    use_bundle(bundles, MODELS[0])
    bench.create_topics()
    worker = bench.worker(SERVE="1", RANKSTREAM_BUNDLE=str(bundles))
    worker.wait_ready()
    sent, ended = 0, threading.Event()

    def load() -> None:
        nonlocal sent
        while not ended.wait(0.02):
            bench.send_requests(1, start=sent)
            bench.send_actions(5, start=5 * sent)
            sent += 1

    sending = threading.Thread(target=load)
    sending.start()
    try:
        for number in range(1, SWAPS + 1):
            use_bundle(bundles, MODELS[number % 2])
            wait_until(
                lambda swaps=number: worker.log.count("serves from now on") >= swaps, f"swap {number} of {SWAPS}"
            )
    finally:
        ended.set()
        sending.join()
    bench.wait_committed(sent, REQUESTS)
    bench.wait_committed(5 * sent, ACTIONS)
    assert worker.terminate() == 0, worker
    feeds = [json.loads(record.value) for record in bench.read(FEEDS)]
    assert Counter(feed["request_id"] for feed in feeds) == Counter({f"r{number}": 1 for number in range(sent)})
    assert not [feed for feed in feeds if feed.get("error")]
    assert {feed["model_version"] for feed in feeds} == set(MODELS)
