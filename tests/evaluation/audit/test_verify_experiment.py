"""Answers of an experiment: each is held against its own model, with sessions as that model folded them."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from rankstream.evaluation.audit.verify import FOLDED_BY_ANOTHER, Report
from rankstream.evaluation.point_in_time import RankersAsServed
from rankstream.features.actions import Vocabulary
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.experiment import CONTROL, TREATMENT, Assignment, Experiment
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.codec import ServedFeatures
from tests.builders.bundle import VOCABULARY, a_bundle
from tests.builders.served import Day, a_day, changed

SALT = "s1"  # by which some of the six users are the treatment's, at a share of a half


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    fewer = Vocabulary(VOCABULARY.actions[:3], VOCABULARY.surfaces)
    treatment = a_bundle(folder / "treatment", model_version="new", seed=5, vocabulary=fewer)
    return a_bundle(folder / "control", model_version="old"), treatment


class Raised(Experiment):
    """Has no users for its treatment at first, and then half of them."""

    calls = 0

    def for_user(self, key: bytes) -> Ranker:
        self.calls += 1
        if self.calls == 40:
            self.assignment, self._pair = Assignment(0.5, SALT), None
        return super().for_user(key)


@pytest.fixture(scope="module")
def day(bundles, tmp_path_factory) -> Day:
    serving = Experiment(*(LiveRanker.open(path) for path in bundles), Assignment(0.5, SALT))
    served = a_day(tmp_path_factory.mktemp("day"), serving=serving, actions=300, requests_every=10)
    return replace(served, bundle=bundles[0])


def verified(day: Day, *bundles: Path) -> Report:
    return day.verify(0.0, *(RankersAsServed(open_bundle(path), vocabulary=VOCABULARY) for path in bundles))


def answers(day: Day) -> list[ServedFeatures]:
    return [msgspec.json.decode(one.value, type=ServedFeatures) for one in day.served]


def test_what_an_experiment_served_is_reproduced_to_the_bit_for_the_users_of_both(day, bundles):
    found = {(one.variant, one.model_version, one.variant_share, one.variant_salt) for one in answers(day)}
    assert found == {(CONTROL, "old", 0.5, SALT), (TREATMENT, "new", 0.5, SALT)}
    for order in (bundles, bundles[::-1]):
        report = verified(day, *order)
        assert (report.verified, report.differences, report.unverified) == (len(day.served), [], {})
    assert report.actions_read <= len(day.actions)


def test_with_one_of_the_bundles_the_users_of_the_other_are_counted_and_the_flag_is_named(day, bundles):
    report = verified(day, bundles[0])
    (reason,) = report.unverified
    assert reason == "served by model new, but the bundle holds old; name an experiment's other bundle with --variant"
    assert report.differences == []
    assert report.verified == sum(one.variant == CONTROL for one in answers(day)) > 0


def test_an_answer_that_names_the_other_variant_is_a_difference(day, bundles):
    at = next(number for number, one in enumerate(answers(day)) if one.variant == TREATMENT)
    tampered = [*day.served[:at], changed(day.served[at], variant=CONTROL), *day.served[at + 1 :]]
    (difference,) = verified(replace(day, served=tampered), *bundles).differences
    assert difference.fields == ("variant",)


def test_other_weights_of_the_sessions_are_a_difference_although_another_model_answered_before(day, bundles, tmp_path):
    """Users keep their side, so the other side's answers excuse nothing."""
    other = a_bundle(tmp_path / "other", model_version="new", seed=6)
    report = verified(day, bundles[0], other)
    assert len(report.differences) == sum(one.variant == TREATMENT for one in answers(day))
    assert FOLDED_BY_ANOTHER not in report.unverified


def test_users_who_came_to_the_other_side_have_sessions_of_both_and_are_counted_apart(bundles, tmp_path):
    """The share is raised in the middle: states remember the control."""
    serving = Raised(*(LiveRanker.open(path) for path in bundles), Assignment(0.0, SALT))
    raised = a_day(tmp_path, serving=serving, actions=300, requests_every=10)
    report = verified(replace(raised, bundle=bundles[0]), *bundles)
    assert {one.variant_share for one in answers(raised)} == {0.0, 0.5}
    assert report.differences == []
    assert report.unverified[FOLDED_BY_ANOTHER] > 0
    assert report.verified + report.unverified[FOLDED_BY_ANOTHER] == len(raised.served)
