"""Whether variants have as many users as they should: experiments that are sound, and some that lose or move users."""

from dataclasses import asdict

import numpy as np
import pytest

from rankstream.cli.views.monitor import document, experiment_notes
from rankstream.cli.views.monitor_metrics import MONITOR_METRICS
from rankstream.evaluation.monitoring.feeds import Outcomes, SeenFeed
from rankstream.evaluation.monitoring.sample_ratio import SampleRatio, sample_ratios
from rankstream.evaluation.monitoring.windows import MonitorReport, monitor
from rankstream.ranking.experiment import CONTROL, Assignment
from rankstream.streams.exposition import text_of

HOUR_MS = 3_600_000
USERS = range(2_000)


def a_feed(user: int, variant: str, share: float | None, at_ms: int = 0) -> SeenFeed:
    return SeenFeed(
        str(user).encode(),
        at_ms,
        "m1",
        np.array([1], np.uint64),
        ("request",),
        {},
        1,
        0,
        0,
        False,
        False,
        variant,
        share,
    )


def an_experiment(salt: object, share: float = 0.3, lost: float = 0.0, moved: float = 0.0) -> list[SeenFeed]:
    """Two feeds of each user as workers assign them, of whom these shares of the treatment's are lost or moved."""
    assignment, fate = Assignment(share, str(salt)), np.random.default_rng(5).random(len(USERS))
    variants = {user: assignment.variant_of(str(user).encode()) for user in USERS}
    kept = [user for user in USERS if variants[user] == CONTROL or fate[user] >= lost]
    sides = {user: CONTROL if fate[user] < moved else variants[user] for user in kept}
    return [a_feed(user, side, share, at_ms) for at_ms in (0, HOUR_MS) for user, side in sides.items()]


def a_report(feeds: list[SeenFeed]) -> MonitorReport:
    return monitor(Outcomes(feeds, {"save": np.zeros((len(feeds), 1), np.bool_)}), HOUR_MS)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
def test_sound_experiments_pass(share: float):
    found = [sample_ratios(an_experiment(salt, share)) for salt in range(10)]
    assert [len(ratios) for ratios in found] == [1] * 10
    assert all(one.users == len(USERS) and one.share == share for (one,) in found)
    assert not any(one.is_mismatch for (one,) in found)


@pytest.mark.parametrize("wrong", [{"lost": 0.25}, {"moved": 0.25}])
def test_one_that_loses_or_moves_a_quarter_of_the_treatments_users_is_found_out(wrong: dict[str, float]):
    assert all(one.is_mismatch for salt in range(5) for one in sample_ratios(an_experiment(salt, **wrong)))


def test_a_mismatch_is_an_alert_that_says_what_it_means():
    feeds = an_experiment("s", lost=0.25)
    ratio, report = sample_ratios(feeds)[0], a_report(feeds)
    (alert,) = report.alerts
    assert (alert.what, alert.before, alert.now) == ("sample ratio", 0.3, ratio.treatment / ratio.users)
    assert alert.standard_scores < -4
    assert alert.sentence.startswith(f"{ratio.treatment:,} of {ratio.users:,} users (")
    assert "don't trust what differs between the two" in alert.sentence
    (told,) = document(report, {})["sample_ratios"]
    assert told == asdict(ratio) | {"p_value": ratio.p_value, "is_mismatch": True}
    assert experiment_notes(report) == []
    shown = text_of(MONITOR_METRICS, report).decode()
    assert f'rankstream_monitor_sample_ratio_p_value{{share="0.3"}} {ratio.p_value}' in shown
    assert 'rankstream_monitor_alerts{what="sample ratio"} 1.0' in shown


def test_of_a_sound_one_the_numbers_are_told_and_nothing_else():
    report = a_report(an_experiment("s"))
    (ratio,) = report.sample_ratios
    assert report.alerts == []
    (note,) = experiment_notes(report)
    had = f"{ratio.treatment} of 2,000 users had the treatment"
    assert note.startswith(f"{had}, as they should by its share of 0.3 (p = ")


def test_a_share_that_was_raised_is_no_mismatch_but_those_who_stayed_are_no_longer_alike():
    """Were users who moved left out, one in 80 would seem to have had the first share."""
    later = [a_feed(one.user.decode(), one.variant, one.share, 2 * HOUR_MS) for one in an_experiment("s", 0.5)]
    report = a_report([*an_experiment("s", 0.1), *later])
    assert [(one.share, one.users, one.is_mismatch) for one in report.sample_ratios] == [
        (0.1, 2_000, False), (0.5, 2_000, False),
    ]  # fmt: skip
    assert report.of_both > 600
    assert experiment_notes(report)[-1].endswith("compare feeds of after the change alone")


def test_another_salt_moves_users_and_is_no_mismatch():
    feeds = [*an_experiment("first", 0.1), *an_experiment("second", 0.1)]
    (ratio,) = sample_ratios(feeds)
    assert not ratio.is_mismatch
    assert SampleRatio(0.1, 20, 1_640).is_mismatch  # about the users that are left where those of both are left out


def test_without_an_experiment_there_is_no_ratio():
    assert sample_ratios([a_feed(1, "", None), a_feed(2, "", None)]) == []


def test_while_the_treatment_can_not_serve_nobody_should_have_it():
    (ratio,) = sample_ratios([a_feed(user, CONTROL, 0.0) for user in USERS])
    assert (ratio.treatment, ratio.p_value) == (0, 1.0)
    assert SampleRatio(0.0, 1, 1_999).is_mismatch
