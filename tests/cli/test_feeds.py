"""`request` and `watch`, with a worker played by the test."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from rankstream.ranking.request import FeedItem
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.codec import FeedError, RankedFeed
from rankstream.streams.topics import FEEDS, REQUESTS, TopicNames
from tests.builders.cli import connected, fresh_topics, rankstream, refusal
from tests.builders.patience import PATIENCE_S

pytestmark = pytest.mark.broker
NOON_MS = 1_700_000_000_000
ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(bootstrap_servers):
    return fresh_topics(bootstrap_servers)


def a_feed(request_id, user_id="7", **changes):
    facts = {"model_version": "m1", "actions_used": 3, "newest_action_age_ms": 1500, "user_vector_found": True}
    items = [FeedItem("b", 0.75, {"click": 0.5}), FeedItem("a", 0.25, {"click": 0.1})]
    return RankedFeed(request_id, user_id, NOON_MS, items=items, unknown_items=0, timings_ms={"total": 2.0}, **facts)


def an_error(request_id, user_id="7"):
    return RankedFeed(request_id, user_id, NOON_MS, error=FeedError("too-many", "5 is too many"))


def send(settings, *feeds):
    name = TopicNames(settings.topic_prefix).of(FEEDS)
    with RawProducer(settings, [name]) as producer:
        for feed in feeds:
            producer.send(name, str(feed.user_id).encode(), msgspec.json.encode(feed))


def answer_one(settings, answer):
    """Play the worker: wait for one request and answer it."""

    def work():
        with TopicReader(settings, REQUESTS, from_beginning=True) as reader:
            records = []
            while not records:
                records = reader.poll()
            send(settings, answer(json.loads(records[0].value)["request_id"]))

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_request_shows_its_answer(settings):
    worker = answer_one(settings, a_feed)
    result = rankstream("request", "--user", 7, "--candidates", "a, b", *connected(settings))
    worker.join()
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines() if " 0." in line]
    assert [line[1::2] for line in lines] == [["1", "b", "0.7500", "0.5000"], ["2", "a", "0.2500", "0.1000"]]
    assert "3 actions used, newest 1.5 s old; user vector found" in " ".join(result.output.split())


def test_a_request_in_json_is_the_feed_as_it_came(settings):
    worker = answer_one(settings, a_feed)
    result = rankstream("request", "--user", 7, "--limit", 10, "--json", *connected(settings))
    worker.join()
    assert msgspec.json.decode(result.output, type=RankedFeed).items == a_feed("x").items


def test_a_request_holds_the_surface_that_was_given(settings):
    worker = answer_one(settings, a_feed)
    result = rankstream("request", "--user", 7, "--limit", 10, "--surface", "home", *connected(settings))
    worker.join()
    assert result.exit_code == 0
    with TopicReader(settings, REQUESTS, from_beginning=True) as reader:
        while not (records := reader.poll()):
            pass
    assert json.loads(records[0].value)["surface"] == "home"


def test_a_request_that_was_refused_reports_why(settings):
    worker = answer_one(settings, an_error)
    result = rankstream("request", "--user", 7, "--limit", 10, *connected(settings))
    worker.join()
    assert refusal(result) == "the worker refused (too-many): 5 is too many"


def test_a_request_that_no_worker_answers_ends(settings):
    result = rankstream("request", "--user", 7, "--limit", 10, "--timeout", 0.5, *connected(settings))
    assert refusal(result).startswith("no answer within 0.5 s; is a worker running")


def test_watch_prints_a_line_a_feed_where_there_is_no_terminal(settings):
    send(settings, a_feed("r1"), a_feed("r2", "8"), an_error("r3"))
    result = rankstream("watch", "--from-beginning", "--user", 7, "--limit", 2, *connected(settings))
    assert [json.loads(line)["request_id"] for line in result.output.splitlines()] == ["r1", "r3"]


def test_ctrl_c_ends_watching_without_a_word(settings):
    command = [sys.executable, "-m", "rankstream.cli.main", "watch", "--from-beginning", *connected(settings)]
    send(settings, a_feed("r1"))
    here = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, and so inherited, where tests run with &
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as watching:
        signal.signal(signal.SIGINT, here)
        assert watching.stdout is not None
        assert b'"r1"' in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, stderr = watching.communicate(timeout=PATIENCE_S)
    assert watching.returncode == 130
    assert stderr.strip() == b""  # a line break after the terminal's ^C
