"""More requests than a worker can rank: the newest are ranked, the others are answered by popularity, none waits."""

import json
import re
from collections import Counter

import pytest

from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SCORE_MS = 20  # 20 s of work


def answers(bench: Bench) -> dict[str, list[str]]:
    """How each request was answered, by its id."""
    found: dict[str, list[str]] = {}
    for record in bench.read(FEEDS):
        feed = json.loads(record.value)
        found.setdefault(feed["request_id"], []).append(feed.get("fallback", "ranked"))
    return found


def test_of_a_queue_that_would_take_too_long_the_oldest_are_answered_by_popularity(bench):
    bench.create_topics()
    bench.send_requests(1_000)
    bench.send_actions(2_000)
    worker = bench.worker(SCORE_MS=str(SCORE_MS), RANKSTREAM_ANSWER_WITHIN_MS="500")
    worker.wait_ready()
    bench.wait_committed(1_000, REQUESTS)
    bench.wait_committed(2_000, ACTIONS)
    bench.send_requests(1, start=1_000)
    bench.wait_committed(1_001, REQUESTS)
    found = answers(bench)
    assert all(len(each) == 1 for each in found.values())
    kinds = Counter(each[0] for each in found.values())
    assert kinds.total() == 1_001
    assert kinds["popularity"] > kinds["ranked"] > 0
    assert found["r1000"] == ["ranked"]
    assert worker.terminate() == 0
    told = re.findall(r"([\d,]+) of them answered without scoring", worker.log)
    assert sum(int(one.replace(",", "")) for one in told) == kinds["popularity"]


def test_without_a_limit_every_request_is_ranked(bench):
    bench.create_topics()
    bench.send_requests(400)
    worker = bench.worker(SCORE_MS="5")
    worker.wait_ready()
    bench.wait_committed(400, REQUESTS)
    assert set(map(tuple, answers(bench).values())) == {("ranked",)}
    assert worker.terminate() == 0
