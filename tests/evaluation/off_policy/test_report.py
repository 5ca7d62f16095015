"""From feeds that a pipeline served with exploration to what another policy would have earned."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from rankstream.evaluation.attribution import rewards_of
from rankstream.evaluation.off_policy.report import cross_fitted_factors, evaluate
from rankstream.evaluation.off_policy.slates import (
    CUT,
    ERROR,
    NO_HEAD,
    NO_PROPENSITIES,
    TWICE,
    Slate,
    Target,
    slates_of,
)
from rankstream.events.action_event import ActionEvent
from rankstream.events.arrivals import arrivals_of
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import id_keys
from rankstream.ranking.policies import EpsilonGreedy, Greedy, PlackettLuce, RelativePlackettLuce
from rankstream.ranking.request import FeedItem
from rankstream.streams.codec import FeedError, RankedFeed
from rankstream.streams.records import recorded_actions
from tests.builders.actions import MORNING_MS
from tests.builders.exploration import Explored, the_explored

SAVE = Vocabulary(("save",), ())
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def world() -> Explored:
    return the_explored()


def evaluated(world: Explored, target: Target, positions: int = 1, **more):
    skipped = Counter()
    slates = slates_of(world.feeds, target, {"save": 1.0}, positions, skipped)
    arrivals = [arrivals_of(recorded_actions(world.actions), SAVE, Skipped())]
    rewards = rewards_of(slates, arrivals, {1: 1.0}, positions, 30 * MINUTE_MS)
    return evaluate(slates, rewards, target.text, skipped=skipped, **more)


@pytest.mark.parametrize(
    "policy",
    [Greedy(), RelativePlackettLuce(0.5), PlackettLuce(0.5), EpsilonGreedy(0.3)],
    ids=lambda policy: policy.text or "greedy",
)
def test_estimates_from_served_feeds_come_near_to_the_truth(world, policy):
    """Within four standard errors of the policy's value by the users' own probabilities, over 900 feeds."""
    report = evaluated(world, Target(policy), 2)
    for evaluation in report.evaluations:
        truth = world.value(policy, evaluation.positions)
        for name in ("ips", "snips", "dr"):
            value = evaluation.estimates[name].value
            error = (value.high - value.low) / 3.92
            assert abs(value.value - truth) < 4 * error < 0.3, name
    assert report.warnings == []


def test_a_better_policy_is_found_to_be_better_and_a_worse_one_to_be_worse(world):
    greedy = evaluated(world, Target(Greedy()))
    upside_down = evaluated(world, Target(PlackettLuce(1.5), {"save": -3.0, "click": -1.0}))
    assert greedy.verdict.startswith("the target would earn more than what was served: +")
    assert upside_down.verdict.startswith("the target would earn less than what was served: -")
    assert upside_down.target == "plackett-luce temperature=1.5 by -3 save -1 click"


def test_the_policy_that_served_has_the_value_that_was_served(world):
    report = evaluated(world, Target(RelativePlackettLuce(1.5)), 2)
    (evaluation,) = report.evaluations[1:]
    assert evaluation.effective_sample_size == pytest.approx([900, 900])
    assert [evaluation.estimates[name].gain.value for name in ("ips", "snips")] == pytest.approx([0, 0], abs=1e-12)
    assert abs(evaluation.estimates["dr"].gain.value) < 0.02
    assert report.served_by == {"plackett-luce relative-temperature=1.5 seed=0": 900}


def test_the_model_makes_the_estimate_sharper(world):
    estimates = evaluated(world, Target(Greedy())).evaluations[0].estimates
    widths = {name: found.value.high - found.value.low for name, found in estimates.items()}
    assert widths["dm"] < widths["dr"] < widths["ips"]


def test_a_log_that_shows_too_little_yields_no_verdict(world):
    few = Explored(world.feeds[:90], world.actions)
    report = evaluated(few, Target(Greedy()), 2)
    assert report.verdict == "no verdict: the log shows too little of what the target does"
    assert "of 90 feeds: too few to trust" in report.warnings[0]


def test_propensities_that_are_not_those_of_the_policy_are_noticed(world):
    wrong = [
        msgspec.structs.replace(
            feed, items=[msgspec.structs.replace(i, propensity=i.propensity**0.5) for i in feed.items]
        )
        for feed in world.feeds
    ]
    (warning,) = evaluated(Explored(wrong, world.actions), Target(PlackettLuce(1.0))).warnings
    assert "on average where 1 is expected" in warning


def a_feed(request=1, user=7, at=0, items="abc", **more):
    shown = [FeedItem(item, 1.0 - n, {"save": 0.2}, 0.5) for n, item in enumerate(items)]
    fields = {"policy": "plackett-luce temperature=1.0 seed=0", "num_candidates": len(items)} | more
    return RankedFeed(request, user, MORNING_MS + at * MINUTE_MS, items=shown, **fields)


@pytest.mark.parametrize(
    ("feed", "reason"),
    [
        (a_feed(num_candidates=4), CUT),
        (a_feed(policy=msgspec.UNSET), NO_PROPENSITIES),
        (a_feed(items=""), ERROR),
        (RankedFeed(1, 7, MORNING_MS, error=FeedError("deadline-passed", "late")), ERROR),
    ],
)
def test_feeds_that_cant_be_evaluated_are_counted_by_why(feed, reason):
    skipped = Counter()
    slates = slates_of([feed, a_feed(2), a_feed(2)], Target(Greedy()), {"save": 1.0}, 2, skipped)
    assert (len(slates), skipped) == (1, {reason: 1, TWICE: 1})


def test_a_utility_needs_its_heads():
    skipped = Counter()
    assert slates_of([a_feed()], Target(Greedy(), {"hide": -1.0}), {"save": 1.0}, 2, skipped) == []
    assert skipped == {NO_HEAD: 1}


def test_ties_are_broken_by_the_item_never_by_what_was_served():
    same = {"save": 0.0}
    for items in ("abc", "bca", "cab"):
        (slate,) = slates_of([a_feed(items=items)], Target(Greedy(), same), {"save": 1.0}, 3, Counter())
        first = items[int(np.argmax(id_keys(list(items)) == id_keys(list("abc")).min()))]
        assert slate.target[0] == (items[0] == first)


def test_a_short_feed_has_fewer_positions():
    (slate,) = slates_of([a_feed(items="ab")], Target(PlackettLuce(1.0)), {"save": 1.0}, 5, Counter())
    assert [len(column) for column in (slate.items, slate.logged, slate.target, slate.expected)] == [2] * 4


def rewards(feeds, *acts, positions=2):
    slates = slates_of(feeds, Target(Greedy()), {"save": 1.0, "click": 1.0}, positions, Counter())
    vocabulary = Vocabulary(("save", "click"), ())
    events = [ActionEvent(user, item, kind, MORNING_MS + int(at * MINUTE_MS)) for user, item, kind, at in acts]
    arrivals = [arrivals_of(recorded_actions(events), vocabulary, Skipped())]
    return rewards_of(slates, arrivals, {1: 3.0, 2: 1.0}, positions, 30 * MINUTE_MS).tolist()


def test_each_kind_of_action_on_a_shown_item_counts_once():
    acts = [(7, "b", "save", 1), (7, "b", "save", 2), (7, "b", "click", 1), ("7", "a", "click", 3), (7, "c", "save", 1)]
    assert rewards([a_feed()], *acts) == [[1.0, 4.0]]


def test_an_action_counts_for_the_newest_feed_that_showed_the_item():
    feeds = [a_feed(1), a_feed(2, at=10, items="bc"), a_feed(3, at=20, items="xy")]
    assert rewards(feeds, (7, "b", "save", 25), (7, "a", "save", 25)) == [[3.0, 0.0], [3.0, 0.0], [0.0, 0.0]]


def test_of_feeds_of_one_time_the_same_one_is_rewarded_whatever_the_order_of_their_records():
    feeds, act = [a_feed(1, items="ab"), a_feed(2, items="cb")], (7, "b", "save", 1)
    forwards, backwards = rewards(feeds, act), rewards(feeds[::-1], act)
    assert forwards == backwards[::-1]
    assert sum(map(sum, forwards)) == 3.0


def test_too_late_before_the_feed_and_of_others_counts_nothing():
    assert rewards([a_feed()], (7, "a", "save", 30.01), (7, "a", "save", -0.01), (8, "a", "save", 1)) == [[0.0, 0.0]]
    assert rewards([a_feed()], (7, "a", "save", 30), (7, "b", "click", 0)) == [[3.0, 1.0]]


def test_predictions_of_a_user_are_fitted_on_others():
    predicted, users = np.full((4, 1), 0.5), [b"a", b"d", b"a", b"d"]
    factors = cross_fitted_factors(np.array([[1.0], [0.0], [1.0], [0.5]]), predicted, users)
    assert factors.ravel().tolist() == [0.5, 2.0, 0.5, 2.0]
    assert not cross_fitted_factors(np.ones((4, 1)), 0 * predicted, users).any()


def test_a_slate_holds_the_probabilities_of_both_policies():
    target = PlackettLuce(0.5)
    (slate,) = slates_of([a_feed()], Target(target), {"save": 2.0}, 2, Counter())
    softmax = np.exp(np.array([1.0, 0.0, -1.0]) / 0.5)
    assert isinstance(slate, Slate)
    assert slate.target == pytest.approx([softmax[0] / softmax.sum(), softmax[1] / softmax[1:].sum()])
    assert slate.logged.tolist() == [0.5, 0.5]
    assert slate.predicted == pytest.approx([0.4, 0.4])
    assert slate.expected == pytest.approx([0.4, 0.4])
