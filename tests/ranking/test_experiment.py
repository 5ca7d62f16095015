"""Two models side by side: who is ranked by which, and what both need to have in common."""

import json

import pytest

from rankstream.features.actions import Vocabulary
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.ranking.experiment import CONTROL, TREATMENT, Assignment
from rankstream.ranking.request import Variant
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.settings import Settings
from rankstream.streams.worker.open_serving import open_serving
from tests.builders.actions import MORNING_MS, a_request, an_event, records_of
from tests.builders.bundle import a_bundle

KEYS = [str(number).encode() for number in range(4_000)]


def serving(folder, treatment, **settings):
    control = folder / "control"
    if not control.exists():
        a_bundle(control, model_version="old")
    return open_serving(Settings(bundle=control, variant=treatment, **settings))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    return serving(folder, a_bundle(folder / "treatment", model_version="new", seed=5), variant_share=0.4)


def a_pipeline_of(serving, history=100):
    return Pipeline(UserCache(MemoryStore(), history), serving, lambda: MORNING_MS, record_clock=lambda: MORNING_MS)


def feeds(pipeline, users):
    requests = [a_request(user=user, at=60, candidates=[1, 2, 3]) for user in users]
    return [json.loads(one.value) for one in pipeline.on_requests(requests).answer()]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_share_of_the_users_has_the_treatment(share):
    assignment = Assignment(share)
    treated = sum(assignment.variant_of(key) == TREATMENT for key in KEYS) / len(KEYS)
    assert abs(treated - share) <= 4 * (share * (1 - share) / len(KEYS)) ** 0.5


def test_a_larger_share_keeps_who_was_treated_and_another_salt_assigns_anew():
    few, many, other = Assignment(0.2), Assignment(0.4), Assignment(0.2, "second")
    treated = {key for key in KEYS if few.variant_of(key) == TREATMENT}
    assert all(many.variant_of(key) == TREATMENT for key in treated)
    again = sum(other.variant_of(key) == TREATMENT for key in treated) / len(treated)
    assert 0.1 < again < 0.3


def test_feeds_name_their_variant_and_its_share_and_are_of_its_model(experiment):
    found = feeds(a_pipeline_of(experiment), range(40))
    assert {(one["variant"], one["model_version"]) for one in found} == {(CONTROL, "old"), (TREATMENT, "new")}
    assert [one["variant"] for one in found] == [experiment.assignment.variant_of(str(n).encode()) for n in range(40)]
    assert {one["variant_share"] for one in found} == {0.4}


@pytest.mark.parametrize("answered", ["answer", "by_popularity"])
def test_what_is_refused_or_not_scored_names_its_variant_too(experiment, answered):
    """Or the errors of one of the two would be counted for neither."""
    pipeline = a_pipeline_of(experiment)
    late = [a_request(user=user, candidates=[1, 2], deadline_ms=MORNING_MS - 1) for user in range(20)]
    good = [a_request(user=user, candidates=[1, 2]) for user in range(20)]
    pending = (pipeline.on_requests if answered == "answer" else pipeline.on_too_many)([*late, *good])
    found = [json.loads(one.value) for one in getattr(pending, answered)()]
    assert [("error" in one) for one in found] == [True] * 20 + [False] * 20
    assigned = [experiment.assignment.variant_of(str(number).encode()) for number in range(20)]
    assert [one["variant"] for one in found] == assigned * 2
    assert {one["variant_share"] for one in found} == {0.4}


def test_sessions_of_a_user_are_folded_by_the_model_of_their_variant(experiment):
    acted = [(user, item, hours) for hours in (0, 2, 4) for user in range(20) for item in (1, 2)]
    events = [
        an_event(user=user, item=item, at=3_600 * hours, action="save", offset=offset)
        for offset, (user, item, hours) in enumerate(acted)
    ]
    both, alone = a_pipeline_of(experiment, history=2), a_pipeline_of(experiment.treatment, history=2)
    for pipeline in (both, alone):
        pipeline.on_actions(events)
    mixed, treated = records_of(both), records_of(alone)
    same = {key for key in mixed if mixed[key] == treated[key]}
    assert same == {key for key in mixed if experiment.assignment.variant_of(key) == TREATMENT}
    assert 0 < len(same) < len(mixed)


@pytest.mark.parametrize(
    ("treatment", "words"),
    [
        ({"vocabulary": Vocabulary(("like", "hide"))}, "wanted the same names"),
        ({}, "change the two places"),
    ],
)
def test_models_that_cannot_share_states_are_refused(treatment, words, tmp_path):
    if not treatment:
        a_bundle(tmp_path / "control", model_version="old", with_sessions=False)
    with pytest.raises(BundleRefusedError, match=words):
        serving(tmp_path, a_bundle(tmp_path / "treatment", **treatment))


def test_a_treatment_that_is_swapped_for_one_that_does_not_fit_leaves_its_users_to_the_control(tmp_path, caplog):
    folder = tmp_path / "treatment"
    experiment = serving(tmp_path, a_bundle(folder, model_version="new", seed=5), variant_share=1.0)
    assert experiment.for_user(b"7").model_version == "new"
    unfit = a_bundle(tmp_path / "unfit", model_version="unfit", vocabulary=Vocabulary(("like", "hide")))
    experiment.treatment = open_serving(Settings(bundle=unfit))
    assert [experiment.for_user(b"7").variant for _ in range(3)] == [Variant(CONTROL, share=0.0, salt="")] * 3
    assert sum("does not serve" in record.message for record in caplog.records) == 1


def test_versions_tell_of_both_models(experiment):
    versions = experiment.versions()
    assert (versions["model"].version, versions["treatment_model"].version) == ("old", "new")
