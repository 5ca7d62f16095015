"""Measures of served feeds, in worlds of which it is known what is taken, and alerts where something changes."""

from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from rankstream.evaluation.monitoring.feeds import TWICE, Outcomes, seen_feeds
from rankstream.evaluation.monitoring.windows import monitor
from rankstream.metrics.ratios import ratio
from rankstream.ranking.request import FeedItem
from rankstream.streams.codec import FeedError, RankedFeed

NOON_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000
HOUR_MS = 3_600_000
RATE = 0.3  # of a feed's first position; what the head predicts


def a_feed(number, user=1, hour=0, **more):
    items = [FeedItem(item, 1.0, {"save": RATE}, source=source) for item, source in ((10, "walk"), (11, "similar"))]
    known = {"model_version": "m1", "actions_used": 5, "newest_action_age_ms": 40, "unknown_items": 0}
    fields = {"items": items, "calibrated": ["save"]} | known | more
    return RankedFeed(number, user, NOON_MS + hour * HOUR_MS + number, **fields)


def outcomes(feeds, saved):
    """Feeds with what was saved, ``(n, 2)``, in the feeds' order."""
    skipped = Counter()
    seen = seen_feeds(feeds, 2, skipped)
    assert len(seen) == len(feeds)
    return Outcomes(seen, {"save": np.array(saved, np.bool_)})


def a_day(rng, rates, **of_last):
    """A hundred feeds an hour of forty users, of which the first position is saved by these rates."""
    feeds, saved = [], []
    for hour, rate in enumerate(rates):
        last = of_last if hour == len(rates) - 1 else {}
        for number in range(150):
            feeds.append(a_feed(number, int(rng.integers(40)), hour, **last))
            saved.append((rng.random() < rate, rng.random() < rate))
    feeds = [msgspec.structs.replace(one, request_id=at) for at, one in enumerate(feeds)]
    return outcomes(feeds, saved)


def test_what_is_taken_is_counted_by_window_model_and_source():
    feeds = [a_feed(1), a_feed(2, user=2), a_feed(3, hour=1, model_version="m2")]
    report = monitor(outcomes(feeds, [(True, False), (False, False), (True, True)]), HOUR_MS)
    first, second = report.windows
    assert (first.feeds, first.users, first.hit.value, first.rate.value) == (2, 2, 0.5, 0.25)
    assert (second.from_ms, second.hit.value, second.rate.value) == (NOON_MS + HOUR_MS, 1.0, 1.0)
    assert [(one.name, one.rate.part) for one in report.by_model] == [("m1", 1.0), ("m2", 2.0)]
    assert [(one.source, one.shown, one.rate.part) for one in report.by_source] == [("similar", 3, 1.0), ("walk", 3, 2)]
    assert first.calibration["save"].value == pytest.approx(1 / (4 * RATE))


def test_errors_show_nothing_and_fallbacks_and_strangers_are_counted():
    error = RankedFeed(9, 3, NOON_MS + 9, error=FeedError("deadline-passed", "too late"))
    feeds = [a_feed(1), a_feed(2, user=2, fallback="popularity", actions_used=0, newest_action_age_ms=None), error]
    (window,) = monitor(outcomes(feeds, [(True, False), (False, False), (False, False)]), HOUR_MS).windows
    assert (window.errors.value, window.fallbacks.value, window.strangers.value) == (pytest.approx(1 / 3), 0.5, 0.5)
    assert (window.hit.value, window.median_age_ms) == (0.5, 40.0)


def test_an_answer_that_came_twice_counts_once():
    skipped = Counter()
    assert len(seen_feeds([a_feed(1), a_feed(1)], 2, skipped)) == 1
    assert skipped == {TWICE: 1}


def test_days_like_those_before_raise_no_alert():
    for seed in range(20):
        assert monitor(a_day(np.random.default_rng(seed), [RATE] * 6), HOUR_MS).alerts == []


@pytest.mark.parametrize(
    ("rates", "of_last", "wanted"),
    [
        ([RATE] * 5 + [0.05], {}, {"hit", "rate", "calibration of save"}),
        ([RATE] * 6, {"actions_used": 0}, {"strangers"}),
        ([RATE] * 6, {"unknown_items": 2}, {"unknown"}),
        ([RATE] * 6, {"fallback": "popularity"}, {"fallbacks"}),
        ([0.05], {}, {"calibration of save"}),
    ],
)
def test_what_changes_is_told(rates, of_last, wanted):
    alerts = monitor(a_day(np.random.default_rng(0), rates, **of_last), HOUR_MS).alerts
    assert {one.what for one in alerts} == wanted
    assert all(one.at_ms == NOON_MS + (len(rates) - 1) * HOUR_MS for one in alerts)


def an_experiment(rng, effect):
    """Feeds of a hundred users, half of them the treatment's, whose items are taken ``effect`` times as often."""
    feeds, saved = [], []
    for number in range(800):
        user = int(rng.integers(100))
        treated = user % 2
        feeds.append(a_feed(number, user, variant="treatment" if treated else "control"))
        saved.append((rng.random() < RATE * (effect if treated else 1), False))
    return outcomes(feeds, saved)


@pytest.mark.parametrize(("effect", "low", "high"), [(1.0, -0.03, 0.03), (1.5, 0.12, 0.18)])
def test_what_an_experiment_changes_is_told_with_an_interval(effect, low, high):
    found = [monitor(an_experiment(np.random.default_rng(seed), effect), HOUR_MS) for seed in range(40)]
    hits = [next(one.interval for one in report.differences if one.what == "hit") for report in found]
    truth = RATE * (effect - 1)
    assert low < np.mean([apart for apart, _, _ in hits]) < high
    assert 0.85 < np.mean([below < truth < above for _, below, above in hits]) <= 1  # 0.95, of 40
    assert {one.name for one in found[0].by_variant} == {"control", "treatment"}


def test_users_who_had_feeds_of_both_variants_are_left_out():
    of_one = [a_feed(1, user=1, variant="control"), a_feed(2, user=2, variant="treatment")]
    of_both = [a_feed(3, user=3, variant="control"), a_feed(4, user=3, variant="treatment")]
    report = monitor(outcomes([*of_one, *of_both], [(True, False)] * 4), HOUR_MS)
    assert report.of_both == 1
    assert [(one.name, one.users, one.feeds) for one in report.by_variant] == [("control", 1, 1), ("treatment", 1, 1)]


def test_without_an_experiment_there_are_no_variants():
    report = monitor(outcomes([a_feed(1), a_feed(2, user=2)], [(True, False)] * 2), HOUR_MS)
    assert (report.by_variant, report.differences, report.of_both) == ([], [], 0)


def test_few_feeds_raise_no_alert():
    many = a_day(np.random.default_rng(0), [RATE] * 5)
    few = seen_feeds([a_feed(10_000 + number, number, hour=5) for number in range(50)], 2, Counter())
    saved = np.concatenate([many.taken["save"], np.zeros((50, 2), np.bool_)])
    assert monitor(replace(many, feeds=[*many.feeds, *few], taken={"save": saved}), HOUR_MS).alerts == []


def test_intervals_of_a_ratio_hold_the_truth_where_users_differ():
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        users = rng.integers(0, 60, 600)
        of_user = rng.beta(2, 5, 60)  # a mean of 2/7
        taken = rng.random(600) < of_user[users]
        low, high = ratio(taken.astype(float), np.ones(600), users).interval
        held += low < 2 / 7 < high
    assert 0.9 < held / 400 < 0.99  # without users as clusters it would be about 0.8
