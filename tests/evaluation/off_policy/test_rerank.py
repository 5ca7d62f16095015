"""The candidates of what was served, ranked again with the states as of then: cut feeds, groups and all."""

from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from rankstream.bundles.manifest import read_manifest, write_manifest
from rankstream.evaluation.leakage import LeakError
from rankstream.evaluation.off_policy.rerank import (
    NO_REQUEST,
    NO_STATE,
    RETRIEVED,
    Reranking,
    TargetRanker,
    reranked_slates,
)
from rankstream.evaluation.off_policy.slates import NO_PROPENSITIES, TWICE, Target
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.exploration import Exploration
from rankstream.ranking.policies import EpsilonGreedy, Greedy, PlackettLuce, RelativePlackettLuce
from rankstream.ranking.serving import LiveRanker
from tests.builders.bundle import AS_OF_MS, a_bundle
from tests.builders.served import Day, a_day

POLICIES = [RelativePlackettLuce(0.5), PlackettLuce(0.5), EpsilonGreedy(0.3)]
POSITIONS = 4


def a_day_of(folder, exploration) -> Day:
    return a_day(folder, serving=LiveRanker.open(a_bundle(folder / "bundle"), exploration=exploration))


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Day:
    return a_day_of(tmp_path_factory.mktemp("day"), Exploration(POLICIES[0], seed=2))


def reranked(day: Day, target, bundle=None, allow_leak=False):
    """The slates of a day for a target, and what was left out."""
    skipped = Counter()
    how = Reranking(
        TargetRanker(open_bundle(bundle or day.bundle), lambda at_ms: None), target, {"save": 1.0}, POSITIONS
    )
    slates, marks = reranked_slates(
        day.served, day.requests, day.actions, how, day.history_limit, skipped, allow_leak
    )  # fmt: skip
    return slates, skipped, marks


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.text)
def test_the_policy_that_served_has_the_very_propensities_that_it_logged(policy, tmp_path):
    """Retrieval apart; others were cut by top_k or by groups, and their states come from the log of actions."""
    day = a_day_of(tmp_path, Exploration(policy, seed=2))
    slates, skipped, _ = reranked(day, Target(policy))
    for slate in slates:
        assert slate.target.tolist() == slate.logged.tolist()
    assert len(slates) + skipped[RETRIEVED] == len(day.requests)
    assert set(skipped) == {RETRIEVED}
    assert len({slate.logged.tobytes() for slate in slates}) > 10


def test_another_model_is_another_target(day, tmp_path):
    slates, _, _ = reranked(day, Target(Greedy()), a_bundle(tmp_path, model_version="tiny-2", seed=1))
    same, _, _ = reranked(day, Target(Greedy()))
    assert len(slates) == len(same)
    assert [slate.target.tolist() for slate in slates] != [slate.target.tolist() for slate in same]
    assert [slate.logged.tolist() for slate in slates] == [slate.logged.tolist() for slate in same]


def test_other_weights_are_another_target(day):
    slates, _, _ = reranked(day, Target(PlackettLuce(0.5), {"hide": -1.0}))
    assert sum(slate.target[0] != slate.logged[0] for slate in slates) > 15


def test_what_is_missing_is_counted(day):
    short = replace(day, actions=day.actions[300:])
    assert reranked(short, Target(Greedy()))[1][NO_STATE] > 15
    assert reranked(replace(day, requests=day.requests[5:]), Target(Greedy()))[1][NO_REQUEST] == 5
    assert reranked(replace(day, served=[*day.served, day.served[3]]), Target(Greedy()))[1][TWICE] == 1


def test_what_was_served_without_exploration_can_not_be_evaluated(tmp_path):
    plain = a_day(tmp_path, actions=60)
    slates, skipped, _ = reranked(plain, Target(Greedy()))
    assert (slates, skipped) == ([], {NO_PROPENSITIES: len(plain.served)})


def test_a_model_that_saw_the_feeds_is_refused_with_both_times_and_marked_where_that_is_allowed(day):
    ranker = TargetRanker(open_bundle(day.bundle), lambda at_ms: None)
    assert ranker.check_leak(AS_OF_MS, allow=False) == []
    with pytest.raises(LeakError, match=r"until 2023-11-14 22:13:20 UTC, but .* begin at 2023-11-14 22:13:19"):
        ranker.check_leak(AS_OF_MS - 1000, allow=False)
    model, items = ranker.check_leak(AS_OF_MS - 1000, allow=True)
    assert model.startswith("LEAK: the model tiny-1 was trained on events until")
    assert items.startswith("LEAK: the items of tiny-1 have vectors of events until 2023-11-14 22:13:20 UTC, but")


def test_a_model_of_wrong_times_is_refused_since_it_may_have_seen_the_feeds(tmp_path):
    bundle = a_bundle(tmp_path)
    write_manifest(bundle, msgspec.structs.replace(read_manifest(bundle), trained_until_ms=AS_OF_MS // 1000))
    ranker = TargetRanker(open_bundle(bundle), lambda at_ms: None)
    with pytest.raises(LeakError, match=r"until 1970-01-20 .* it is not known what it has seen; train again"):
        ranker.check_leak(AS_OF_MS, allow=False)
    assert len(ranker.check_leak(AS_OF_MS, allow=True)) == 1


def test_user_vectors_are_those_as_of_the_request(day):
    times_ms = []
    how = TargetRanker(open_bundle(day.bundle), times_ms.append)
    reranked_slates(day.served, day.requests, day.actions, Reranking(how, Target(Greedy()), {}, 1), 20, Counter())
    assert len(set(times_ms)) > 15
