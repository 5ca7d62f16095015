"""Swapping to another bundle by one command: what is tried before, what is watched after, and the way back."""

import json
import threading
from collections import Counter
from time import sleep

import pytest

from rankstream.cli.commands.deploy import Watched
from rankstream.features.actions import Vocabulary
from rankstream.features.files import current_name
from rankstream.ranking.bundle import use_bundle
from rankstream.ranking.deployment import read_deployment
from rankstream.ranking.trial import Trial
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.codec import FeedError, RankedFeed
from rankstream.streams.topics import FEEDS
from rankstream.streams.worker.vocabulary_guard import Names
from tests.builders.broker import BrokerInUse
from tests.builders.bundle import VOCABULARY, a_bundle
from tests.builders.cli import connected, fresh_topics, rankstream, refusal
from tests.builders.faulty_bundle import a_failing_bundle


@pytest.fixture
def bundles(tmp_path):
    for name in ("old", "new"):
        a_bundle(tmp_path / name, model_version=name)
    use_bundle(tmp_path, "old")
    return tmp_path


def deployed(bundles, *more):
    return rankstream("deploy", bundles, "new", "--requests", 10, *more)


def test_a_bundle_is_tried_beside_the_one_that_serves_and_made_current(bundles):
    result = deployed(bundles, "--watch-s", 0, "--slower", 100, "--json")
    found = json.loads(result.stdout)
    assert current_name(bundles) == found["current"] == found["model_version"] == "new"
    assert found["trial"]["in_common"] == 10  # both are of the same seed
    assert found["trial"]["median_ms"] > 0


def test_the_first_bundle_has_none_to_be_held_against(tmp_path):
    a_bundle(tmp_path / "new", model_version="new")
    found = json.loads(deployed(tmp_path, "--watch-s", 0, "--json").stdout)
    assert (current_name(tmp_path), found["trial"]) == ("new", None)


def test_one_that_takes_too_long_never_serves(bundles, monkeypatch):
    monkeypatch.setattr("rankstream.cli.commands.deploy.trial", lambda *given: Trial(9.0, 3.0, 10.0))
    words = refusal(deployed(bundles, "--watch-s", 0))
    assert "takes 9.0 ms for a request, 3.0 times as long as old, which goes on; --slower 3.0" in words
    assert current_name(bundles) == "old"


def test_one_that_changes_the_meaning_of_codes_never_serves(bundles):
    a_bundle(bundles / "new", vocabulary=Vocabulary(VOCABULARY.actions[::-1], VOCABULARY.surfaces))
    assert "users' states were written with view, click" in refusal(deployed(bundles, "--watch-s", 0))
    assert current_name(bundles) == "old"


def test_one_whose_codes_have_other_names_in_the_changelog_never_serves(bundles, monkeypatch):
    """Written by a bundle that served before the current one did: both of these know fewer names."""
    a_bundle(bundles / "new", vocabulary=Vocabulary((*VOCABULARY.actions, "buy"), VOCABULARY.surfaces))

    async def logged(settings):
        return {4: Names((*VOCABULARY.actions, "share"), VOCABULARY.surfaces)}

    monkeypatch.setattr("rankstream.cli.commands.deploy.logged_names", logged)
    words = refusal(deployed(bundles))
    assert "partition 4 in the changelog were written with view, click, save, hide, share; train with" in words
    assert current_name(bundles) == "old"


def test_use_refuses_other_names_too_unless_it_is_told_that_states_begin_anew(bundles):
    a_bundle(bundles / "new", vocabulary=Vocabulary(VOCABULARY.actions[::-1], VOCABULARY.surfaces))
    assert "or give --other-names, end all workers" in refusal(rankstream("bundle", "use", bundles, "new"))
    assert current_name(bundles) == "old"
    assert rankstream("bundle", "use", bundles, "new", "--other-names").exit_code == 0
    assert current_name(bundles) == "new"


def test_one_that_does_not_verify_never_serves(bundles):
    (bundles / "new" / "user.onnx").write_bytes(b"cut")
    assert "user.onnx was changed after the export" in refusal(deployed(bundles, "--watch-s", 0))
    assert current_name(bundles) == "old"


def test_one_that_fails_the_requests_of_the_trial_never_serves(bundles):
    a_failing_bundle(bundles / "new", num_items=60)  # 20 of these are the user's, 40 are the candidates
    words = refusal(deployed(bundles, "--watch-s", 0))
    assert "can't both rank made-up requests of its items: " in words
    assert current_name(bundles) == "old"
    assert read_deployment(bundles).stage == "refused"
    assert read_deployment(bundles).reason == words


@pytest.mark.parametrize(
    ("watched", "wrong"),
    [
        (Watched(), None),
        (Watched(feeds=200, by_new=150), None),
        (Watched(feeds=10, by_new=0), "none of 10 answers was by it: the workers' logs say why they refuse it"),
        (Watched(feeds=102, by_new=100, errors=Counter(internal=2)), "2 of 102 answers were errors (internal)"),
        (Watched(feeds=101, by_new=100, errors=Counter(internal=1)), None),
        (Watched(feeds=100, by_new=50, errors=Counter({"deadline-passed": 50})), None),
    ],
)
def test_what_speaks_against_a_bundle_are_errors_of_its_own_and_answers_by_another(watched, wrong):
    assert watched.wrong == wrong


def test_in_an_experiment_only_the_feeds_of_the_variant_that_was_swapped_count():
    feeds = [
        RankedFeed(number, 7, 1, items=[], model_version=model, variant=variant)
        for number, (variant, model) in enumerate([("control", "new")] * 2 + [("treatment", "other")] * 3)
    ]
    failed = RankedFeed("late", 7, 1, variant="treatment", error=FeedError("internal", "the ranker failed"))
    control, treatment, plain = Watched(), Watched(), Watched()
    for feed in (*feeds, failed):
        control.see(feed, "new")
        treatment.see(feed, "newer", "treatment")
    assert (control.feeds, control.by_new, control.wrong) == (2, 2, None)
    assert (treatment.feeds, treatment.wrong) == (4, "1 of 4 answers were errors (internal)")
    plain.see(RankedFeed("r", 7, 1, items=[], model_version="new"), "new", "treatment")
    assert plain.feeds == 1  # without an experiment there is nothing to tell apart


def feeds_of(settings, **answer):
    """Send such feeds until the test ends; return what stops it."""
    ended = threading.Event()
    feed = {"request_id": "r", "user_id": "u", "ranked_at_ms": 1} | answer

    def send() -> None:
        with RawProducer(settings, [settings.topic_prefix + FEEDS.name]) as producer:
            while not ended.is_set():
                producer.send(settings.topic_prefix + FEEDS.name, b"u", json.dumps(feed).encode())
                sleep(0.05)

    threading.Thread(target=send, daemon=True).start()
    return ended


@pytest.mark.broker
def test_where_its_answers_are_errors_the_one_before_is_current_again(bundles, broker: BrokerInUse):
    settings = fresh_topics(broker.bootstrap_servers)
    ended = feeds_of(settings, error={"reason": "internal", "message": "the ranker failed"})
    words = refusal(deployed(bundles, "--watch-s", 3, "--slower", 100, *connected(settings)))
    ended.set()
    assert f"{bundles} serves old again, not new: " in words
    assert read_deployment(bundles).stage == "rolled-back"
    assert "answers were errors (internal)" in words
    assert current_name(bundles) == "old"


@pytest.mark.broker
def test_where_feeds_are_by_it_it_stays(bundles, broker: BrokerInUse):
    settings = fresh_topics(broker.bootstrap_servers)
    ended = feeds_of(settings, items=[], model_version="new")
    result = deployed(bundles, "--watch-s", 3, "--slower", 100, *connected(settings))
    ended.set()
    assert current_name(bundles) == "new"
    assert "feeds of the next 3 s were by it" in result.stdout


@pytest.mark.broker
def test_where_nobody_asks_it_stays_and_that_is_said(bundles, broker: BrokerInUse):
    settings = fresh_topics(broker.bootstrap_servers)
    result = deployed(bundles, "--watch-s", 1, "--slower", 100, *connected(settings))
    assert current_name(bundles) == "new"
    assert "no feed came within 1 s" in result.stdout
