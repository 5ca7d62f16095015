"""What each source of candidates earns in served feeds, and what a feed without it would, held to the exact truth."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from rankstream.evaluation.attribution import rewards_of
from rankstream.evaluation.off_policy.report import evaluate
from rankstream.evaluation.off_policy.slates import NO_SOURCES, Target, slates_of
from rankstream.events.arrivals import arrivals_of
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.ranking.policies import EpsilonGreedy, Greedy, Limits, RelativePlackettLuce
from rankstream.streams.records import recorded_actions
from tests.builders.exploration import LOOKS_ON, Explored, p_save, the_explored, with_sources

SAVE = Vocabulary(("save",), ())
SERVED_BY = RelativePlackettLuce(1.5)


@pytest.fixture(scope="module")
def world():
    explored = the_explored()
    return Explored([with_sources(feed) for feed in explored.feeds], explored.actions)


def results(world, policy, positions=2):
    slates = slates_of(world.feeds, Target(policy), {"save": 1.0}, positions, Counter(), by_source=True)
    arrivals = [arrivals_of(recorded_actions(world.actions), SAVE, Skipped())]
    rewards = rewards_of(slates, arrivals, {1: 1.0}, positions, 30 * 60_000)
    report = evaluate(slates, rewards, "target", skipped={})
    return {one.source: one for one in report.by_source}, report


def without(world, name):
    """The feeds of a retrieval that lacks a source."""
    kept = [
        msgspec.structs.replace(feed, items=[item for item in feed.items if not item.source.startswith(name)])
        for feed in world.feeds
    ]
    return Explored(kept, [])


def part(feed, policy, name):
    """The saves that the items of a source get in the first two positions: exact."""
    likes, scores = p_save(feed), np.array([item.score for item in feed.items])
    likes = likes * [item.source.startswith(name) for item in feed.items]
    first = policy.next_propensities(scores, [], Limits())
    second = [policy.next_propensities(scores, [one], Limits()) @ likes for one in range(len(scores))]
    return first @ likes + LOOKS_ON * first @ np.array(second)


def near(estimate, truth):
    error = (estimate.high - estimate.low) / 3.92
    return abs(estimate.value - truth) < 4 * error < 0.4


@pytest.mark.parametrize("policy", [Greedy(), EpsilonGreedy(0.3)], ids=lambda one: one.text or "greedy")
def test_what_a_source_earns_and_what_a_feed_earns_without_it_come_near_to_the_truth(world, policy):
    """Within four standard errors of the exact values by the users' own probabilities, over 900 feeds."""
    found, _ = results(world, policy)
    for name, one in found.items():
        earned = float(np.mean([part(feed, policy, name) for feed in world.feeds]))
        left = without(world, name).value(policy, 2)
        for estimator in ("ips", "snips", "dr"):
            assert near(one.target[estimator], earned), (name, estimator)
            assert near(one.without[estimator], left), (name, estimator)
            assert near(one.worth[estimator], world.value(policy, 2) - left), (name, estimator)


def test_the_parts_of_all_sources_are_the_whole(world):
    found, report = results(world, Greedy())
    assert list(found) == ["matches", "interest"]  # what was shown most, first; one that asks twice is one source
    whole = report.evaluations[-1]
    assert sum(one.shown for one in found.values()) == pytest.approx(1)
    assert sum(one.served.value for one in found.values()) == pytest.approx(whole.served.value)
    for estimator in ("ips", "dr"):
        parts = [one.target[estimator].value for one in found.values()]
        assert sum(parts) == pytest.approx(whole.estimates[estimator].value.value)


def test_a_source_that_proposed_nothing_to_a_feed_is_worth_nothing_there(world):
    only_matches = [
        msgspec.structs.replace(feed, items=[msgspec.structs.replace(item, source="matches") for item in feed.items])
        for feed in world.feeds[30:]
    ]
    found, _ = results(Explored(world.feeds[:30] + only_matches, world.actions), SERVED_BY)
    assert 0 < found["interest"].shown < 0.1
    assert abs(found["interest"].worth["ips"].value) < 0.1
    assert found["matches"].without["ips"].value < 0.1  # a feed of nothing earns nothing


def test_a_feed_that_tells_no_sources_is_left_out_and_counted(world):
    skipped = Counter()
    feeds = [world.feeds[0], the_explored().feeds[1]]
    slates = slates_of(feeds, Target(Greedy()), {"save": 1.0}, 2, skipped, by_source=True)
    assert (len(slates), skipped) == (1, {NO_SOURCES: 1})
    (plain,) = slates_of(feeds[1:], Target(Greedy()), {"save": 1.0}, 2, Counter())
    assert plain.by_source == {}


def test_too_few_feeds_without_a_source_are_warned_of(world):
    _, report = results(Explored(world.feeds[:90], world.actions), Greedy())
    assert any("without matches" in warning or "without interest" in warning for warning in report.warnings)
