import math
import re

import numpy as np
import pytest

from rankstream.cli.demo.baselines import baseline_ranks
from rankstream.cli.demo.command import goes_on
from rankstream.cli.demo.data import NoDataError, find_log, write_items
from rankstream.cli.demo.live import PendingRequest, scored
from rankstream.cli.demo.report import metrics_of, verdict_on, write_report
from rankstream.cli.demo.run import DemoConfig, demo_settings, live_words
from rankstream.cli.demo.scoreboard import (
    FOUND,
    HYBRID,
    ITEM_KNN,
    NO_REALTIME,
    POPULAR,
    RANDOM,
    VMIS_KNN,
    Scoreboard,
    Scored,
)
from rankstream.cli.demo.traffic import Step, plan
from rankstream.content.item_files import ItemOptions, read_items
from rankstream.events.log import EventLog
from rankstream.ranking.request import FeedItem
from rankstream.streams.codec import RankedFeed
from rankstream.streams.settings import Settings
from tests.builders.actions import MORNING_MS, VOCABULARY
from tests.builders.cli import NO_BROKER, rankstream, refusal

pytest.importorskip("pyarrow", reason="the demo's event log needs the train extra")


def a_log(*rows: tuple[int, int, str]) -> EventLog:
    users, items, actions = zip(*rows, strict=True)
    codes = [VOCABULARY.action_codes[action] for action in actions]
    return EventLog(
        VOCABULARY, np.array(users), np.array(items), np.array(codes), MORNING_MS + 1000 * np.arange(len(rows))
    )


def a_scored(hybrid: int | None = 1, user: str = "u1", **more: object) -> Scored:
    ranks = {HYBRID: hybrid, FOUND: 2, NO_REALTIME: 5, VMIS_KNN: 11, ITEM_KNN: 10, POPULAR: 20}
    known = {"candidates": 100, "history": 3, "latency_ms": 40.0, "fresh": True, "newest_age_ms": 60.0}
    return Scored(user=user, ranks=ranks, **(known | more))


def test_a_request_stands_before_a_positive_action_and_ranks_all_that_is_not_seen():
    log = a_log((1, 10, "view"), (1, 11, "save"), (2, 12, "hide"), (1, 13, "save"))
    steps = list(plan(log, live_from=2, requests=5, seed=0))
    assert [step.candidates for step in steps] == [(), (12, 13)]
    assert steps[1] == Step(1, 13, "save", MORNING_MS + 3000, None, (12, 13))


def test_a_film_that_was_seen_is_never_a_candidate():
    log = a_log((1, 10, "view"), (1, 11, "view"), (1, 10, "save"))
    assert [step.candidates for step in plan(log, live_from=1, requests=9, seed=0)] == [(), ()]


def test_baselines_know_what_happened_before_a_request_and_not_after_it():
    log = a_log((1, 10, "save"), (1, 11, "save"), (2, 10, "view"), (3, 10, "view"), (2, 11, "save"), (3, 13, "save"))
    steps = [step for step in plan(log, live_from=4, requests=9, seed=0) if step.candidates]
    assert [step.candidates for step in steps] == [(11, 13), (11, 13)]
    first, second = baseline_ranks(log, steps)
    assert (first[ITEM_KNN], first[VMIS_KNN]) == (1, 1)  # 10 and 11 share a session
    assert (second[ITEM_KNN], second[VMIS_KNN]) == (2, 2)  # 13 shares none yet
    assert set(first) == {POPULAR, ITEM_KNN, VMIS_KNN}


def a_feed(*items: int) -> RankedFeed:
    shown = [FeedItem(item, 1.0 / (1 + at), {}) for at, item in enumerate(items)]
    return RankedFeed("r1", 1, MORNING_MS, items=shown, newest_action_age_ms=1_000)


@pytest.mark.parametrize(("found", "rank"), [(a_feed(12, 13), 2), (a_feed(12, 14), None), (None, None)])
def test_a_film_that_was_not_found_for_a_request_without_candidates_is_a_miss(found: RankedFeed | None, rank: object):
    step = Step(1, 13, "save", MORNING_MS + 1_000, None, (12, 13))
    pending = PendingRequest(step, 0.0, MORNING_MS, None, 3, {ITEM_KNN: 7}, no_realtime=[13], found=found)
    assert scored(pending, a_feed(13, 12)).ranks == {HYBRID: 1, FOUND: rank, NO_REALTIME: 1, ITEM_KNN: 7}


def test_the_best_baseline_is_the_one_with_most_hits():
    board = Scoreboard()
    board.add(a_scored())
    assert board.best_baseline() == ITEM_KNN


def test_a_scoreboard_keeps_means_latencies_and_the_random_baseline():
    board = Scoreboard()
    board.add(a_scored(hybrid=1))
    board.add(a_scored(hybrid=None, latency_ms=80.0, fresh=False, newest_age_ms=None))
    assert (board.hit(HYBRID), board.hit(NO_REALTIME), board.hit(POPULAR), board.hit(RANDOM)) == (0.5, 1.0, 0.0, 0.1)
    assert (board.latency_ms(0.5), board.fresh_share(), board.newest_age_ms(0.5)) == (60.0, 0.5, 60.0)
    assert math.isnan(Scoreboard().hit(HYBRID))


@pytest.mark.parametrize(
    ("lead", "word"),
    [
        ((0.1, (0.02, 0.2)), "ahead of"),
        ((-0.1, (-0.2, -0.02)), "behind"),
        ((0.1, (-0.1, 0.2)), "not clearly different"),
    ],
)
def test_a_verdict_is_only_as_sure_as_its_interval(lead: tuple[float, tuple[float, float]], word: str):
    assert verdict_on("x", lead).startswith(word)


FACTS = {
    "live_actions": 100, "candidates_median": 90,
    "produced_per_s": 1e5, "catch_up_s": 4.0, "live_events_per_s": 200,
    "users": 7, "state_bytes": 10_000, "stages_s": {"train": 3.0}, "command": "demo", "model_version": "v",
}  # fmt: skip


def a_board() -> Scoreboard:
    board = Scoreboard()
    for rank in range(1, 30):
        board.add(a_scored(hybrid=rank, user=f"u{rank % 7}"))
    return board


def test_a_report_is_written_as_page_and_as_numbers(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need the demo extra")
    board, facts = a_board(), FACTS
    path = write_report(board, facts, tmp_path)
    assert "<svg" in path.read_text()
    assert (tmp_path / "report.json").is_file()
    numbers = metrics_of(board, facts)
    assert numbers["rivals"][HYBRID]["hit_at_10"] == pytest.approx(10 / 29)


def test_a_folder_without_the_log_is_named(tmp_path):
    with pytest.raises(NoDataError, match=r"ml-100k\.inter"):
        find_log(tmp_path, tmp_path)


def test_films_beside_the_log_become_items_with_titles(tmp_path):
    films = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n7\tA, B\t1995\tDrama War\n"
    (tmp_path / "ml-100k.item").write_text(films)
    items = write_items(tmp_path / "ml-100k.inter", tmp_path)
    found = read_items(items, ItemOptions(), MORNING_MS).catalogue.items([0])[0]
    assert (found.id, found.title, found.category) == (7, "A, B (1995)", ("Drama",))
    assert found.collections == ("Drama", "War")
    assert live_words(tmp_path)[-2:] == ["--items", str(items)]


def test_without_films_the_page_has_no_titles(tmp_path):
    assert write_items(tmp_path / "ml-100k.inter", tmp_path) is None
    assert "--items" not in live_words(tmp_path)


def test_on_a_kafka_of_ones_own_group_and_topics_have_names_that_nobody_has(tmp_path):
    own = Settings(
        bootstrap_servers="kafka:9092", topic_prefix="shop.", app_id="shop", security_protocol="SSL",
        replication_factor=3, catalogue=tmp_path,
    )  # fmt: skip
    found = demo_settings(DemoConfig(tmp_path, brokers=own), own)
    assert (found.bootstrap_servers, found.security_protocol, found.replication_factor) == ("kafka:9092", "SSL", 3)
    assert re.fullmatch(r"rankstream-demo-\d{8}-\d{6}", found.app_id)
    assert found.topic_prefix == f"{found.app_id}."
    assert found.catalogue is None  # of another system
    embedded = Settings(bootstrap_servers="127.0.0.1:9")
    alone = demo_settings(DemoConfig(tmp_path), embedded)
    assert (alone.bootstrap_servers, alone.app_id, alone.topic_prefix) == ("127.0.0.1:9", "rankstream-demo", "")


def test_brokers_that_do_not_answer_are_told_before_anything_is_trained(tmp_path):
    result = rankstream("demo", "--folder", tmp_path / "demo", "--bootstrap-servers", NO_BROKER)
    assert f"no Kafka broker answers at {NO_BROKER}" in refusal(result)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("live", "terminal", "display", "as_json", "opens"),
    [
        (None, True, ":0", False, True),
        (None, True, "", False, False),  # a server, over ssh
        (None, False, ":0", False, False),  # a pipe, or CI
        (None, True, ":0", True, False),
        (True, False, "", False, True),
        (False, True, ":0", False, False),
    ],
)
def test_the_page_opens_where_somebody_looks_on_unless_told_otherwise(
    monkeypatch, live, terminal, display, as_json, opens
):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    assert goes_on(live, as_json) is opens
