"""What the log reproduces, what it does not, and what can no longer be known."""

from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import msgspec
import pytest
from msgspec import UNSET

from rankstream.evaluation.audit.explain import explain
from rankstream.evaluation.audit.verify import (
    FOLDED_BY_ANOTHER,
    LOG_ENDS,
    NO_ACTIONS,
    NO_REQUEST,
    REFUSED_NOW,
    Report,
    VerifyError,
)
from rankstream.evaluation.audit.verify import verify as verify_served
from rankstream.evaluation.point_in_time import RankersAsServed
from rankstream.events.action_event import Recorded
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.exploration import Exploration
from rankstream.ranking.policies import EpsilonGreedy, PlackettLuce, RelativePlackettLuce
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.codec import ServedFeatures
from tests.builders.bundle import SIZES, a_bundle, a_user_table
from tests.builders.graph import publish_boards
from tests.builders.interests import publish_some as publish_interests_of
from tests.builders.item_counts import publish_some
from tests.builders.served import USERS, Day, a_day, changed


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Day:
    return a_day(tmp_path_factory.mktemp("day"))


def served_features(record: Recorded) -> ServedFeatures:
    return msgspec.json.decode(record.value, type=ServedFeatures)


class SwappingRanker:
    """Serves what there is for some requests, and from then on what was put in its place, by number of the request."""

    def __init__(self, serving: LiveRanker, swaps) -> None:
        self.serving, self._swaps, self._asked = serving, swaps, 0

    @property
    def vocabulary(self):
        return self.serving.vocabulary

    @property
    def current(self):
        return self

    def for_user(self, key):
        return self

    variant = None

    @property
    def offline(self):
        return self.serving.current.offline

    def rank(self, request, state, now_ms):
        if self._asked in self._swaps:
            self._swaps[self._asked]()
            assert self.serving.reload()
        self._asked += 1
        return self.serving.current.rank(request, state, now_ms)


def differing(report: Report) -> dict[object, tuple[str, ...]]:
    return {one.request_id: one.fields for one in report.differences}


def with_one(records: list[Recorded], at: int, record: Recorded) -> list[Recorded]:
    return [*records[:at], record, *records[at + 1 :]]


def test_the_log_reproduces_what_was_served_of_users_whose_clock_is_minutes_ahead(tmp_path):
    report = a_day(tmp_path, actions=200, ahead_ms=180_000).verify()
    assert (report.verified, report.answers) == (11, 11)


def test_the_log_reproduces_what_was_served_to_the_bit(day):
    report = day.verify()
    assert report.verified == report.answers == report.requests == len(day.served) > 25
    assert (report.differences, report.unverified) == ([], {})
    assert report.user_vectors == {served_features(day.served[0]).user_vectors}
    assert any(
        day.rankers().bundle.sessions.state_size and served_features(one).state_actions > 40 for one in day.served
    )


def test_what_was_served_by_the_workers_clock_is_verified_with_that_time(day):
    """Records without a time: the answer tells which one they were given."""
    timeless = replace(
        day,
        actions=[replace(one, timestamp=-1) for one in day.actions],
        requests=[replace(one, timestamp=-1) for one in day.requests],
    )
    report = timeless.verify()
    assert (report.verified, report.differences, report.unverified) == (len(day.served), [], {})


def test_an_answer_to_a_request_that_would_be_refused_now_is_no_difference(day):
    """An older version answered requests whose timestamp_ms is in seconds."""
    asked = changed(day.requests[3], timestamp_ms=day.requests[3].timestamp // 1_000)
    report = replace(day, requests=with_one(day.requests, 3, asked)).verify()
    assert (report.unverified, report.differences) == ({REFUSED_NOW: 1}, [])


def test_what_was_served_around_erasures_is_reproduced_to_the_bit_and_not_without_them(tmp_path):
    day = a_day(tmp_path, erase_every=25)
    report = day.verify()
    assert (report.verified, report.differences) == (report.requests, [])
    erasures = [one for one in day.actions if b'"forget"' in (one.value or b"")]
    assert len(erasures) > 20
    without = replace(day, actions=[one for one in day.actions if one not in erasures])
    assert len(without.verify().differences) > 5


def test_what_was_served_of_users_who_were_silent_for_long_is_reproduced_to_the_bit(tmp_path):
    day = a_day(tmp_path, forget_after_ms=20 * 60_000)
    report = day.verify()
    assert (report.verified, report.differences) == (report.requests, [])
    assert len(replace(day, forget_after_ms=0).verify().differences) > 5


def test_the_order_in_which_records_of_several_partitions_come_does_not_matter(day):
    other = [replace(one, partition=5) for one in (*day.actions, *day.requests)]
    served = [changed(replace(one, partition=5), partition=5) for one in day.served]
    actions = sorted([*day.actions, *other[: len(day.actions)]], key=lambda one: (one.offset, -one.partition))
    both = replace(
        day, actions=actions, requests=[*other[len(day.actions) :], *day.requests], served=[*served, *day.served]
    )
    report = both.verify()
    assert report.verified == 2 * len(day.served)


def test_the_counters_that_a_model_saw_are_reproduced_to_the_bit(tmp_path):
    sees = a_day(tmp_path, actions=400, sizes=replace(SIZES, counted_types=4))
    report = sees.verify()
    assert (report.verified, report.differences) == (len(sees.served), [])
    assert any(served_features(one).state_actions > 2 * sees.history_limit for one in sees.served)
    blind = a_day(tmp_path / "blind", actions=400)
    seen, unseen = ([served_features(one).features for one in day.served] for day in (sees, blind))
    assert not set(seen) & set(unseen)


def test_the_surface_that_a_model_saw_is_reproduced_and_another_one_is_found_out(tmp_path):
    sees = a_day(tmp_path, actions=200, sizes=replace(SIZES, surfaces=2))
    report = sees.verify()
    assert (report.verified, report.differences) == (len(sees.served), [])
    at_home = next(row for row, one in enumerate(sees.requests) if b'"home"' in (one.value or b""))
    elsewhere = with_one(sees.requests, at_home, changed(sees.requests[at_home], surface="search"))
    (found,) = replace(sees, requests=elsewhere).verify().differences
    assert "features" in found.fields


@pytest.mark.parametrize("policy", [RelativePlackettLuce(0.7), PlackettLuce(0.7), EpsilonGreedy(0.3)])
def test_what_was_explored_is_reproduced_too(tmp_path, policy):
    explored = a_day(tmp_path, actions=200, exploration=Exploration(policy, seed=5))
    report = explored.verify()
    assert report.verified == len(explored.served) > 5
    other = [
        changed(one, policy=str(served_features(one).policy).replace("seed=5", "seed=6")) for one in explored.served
    ]
    assert "order" in {what for one in replace(explored, served=other).verify().differences for what in one.fields}


def test_an_answer_that_was_given_twice_is_verified_twice(day):
    report = replace(day, served=[*day.served, day.served[3]]).verify()
    assert (report.verified, report.requests) == (len(day.served) + 1, len(day.served))


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"features": "0" * 32}, ("features",)),
        ({"state_actions": 3}, ("state",)),
        ({"at_ms": 1_700_000_000_001}, ("at_ms",)),
        ({"request_id": "another"}, ("request_id",)),
    ],
)
def test_a_served_record_that_was_tampered_with_is_the_one_that_differs(day, fields, what):
    at = len(day.served) // 2
    report = replace(day, served=with_one(day.served, at, changed(day.served[at], **fields))).verify()
    assert differing(report) == {fields.get("request_id", served_features(day.served[at]).request_id): what}
    assert report.verified == len(day.served) - 1


def test_a_score_that_was_changed_by_the_last_bit_is_found(day):
    record = day.served[5]
    item, *rest = msgspec.json.decode(record.value)["items"]
    item["score"] += 1e-12
    (difference,) = (
        replace(day, served=with_one(day.served, 5, changed(record, items=[item, *rest]))).verify().differences
    )
    assert difference.fields == ("scores",)
    assert 0 < difference.largest < 2e-12
    assert "scores differ by up to 1e-12" in difference.message


def test_a_feed_in_another_order_is_found_with_the_rank(day):
    record = day.served[5]
    first, second, *rest = msgspec.json.decode(record.value)["items"]
    served = with_one(day.served, 5, changed(record, items=[second, first, *rest]))
    (difference,) = replace(day, served=served).verify().differences
    assert difference.fields == ("order",)
    assert difference.message == "orders differ from rank 1 on"


def test_an_action_that_was_changed_differs_for_all_who_saw_it_and_for_no_one_else(day):
    at = next(n for n, one in enumerate(day.actions) if one.key == b"u1" and n > len(day.actions) // 2)
    actions = with_one(day.actions, at, changed(day.actions[at], item_id=199))
    report = replace(day, actions=actions).verify()
    saw = {
        served_features(one).request_id
        for one in day.served
        if one.key == b"u1" and served_features(one).state_offset >= at
    }
    assert differing(report).keys() == saw
    assert all("features" in what for what in differing(report).values())


def test_an_action_that_was_taken_out_is_missed_at_the_state_that_ended_with_it(day):
    last = served_features(day.served[-1]).state_offset
    assert last > 0
    report = replace(day, actions=[one for one in day.actions if one.offset != last]).verify()
    assert differing(report)[served_features(day.served[-1]).request_id] == ("state",)
    assert f"no action of the user at offset {last}" in report.differences[-1].message


def test_answers_whose_log_has_begun_to_expire_are_counted_and_not_called_different(day):
    report = replace(day, actions=day.actions[300:]).verify()
    assert report.differences == []
    assert report.unverified.keys() == {NO_ACTIONS}
    assert report.verified + report.unverified[NO_ACTIONS] == len(day.served)
    assert report.verified >= sum(served_features(one).state_offset == -1 for one in day.served) > 0


def test_a_log_that_ends_too_early_and_requests_that_are_gone_are_counted(day):
    assert replace(day, actions=day.actions[:300]).verify().unverified.keys() == {LOG_ENDS}
    assert replace(day, requests=day.requests[4:]).verify().unverified == {NO_REQUEST: 4}


def test_another_model_and_vectors_that_are_gone_are_counted(day, tmp_path):
    other = RankersAsServed(open_bundle(a_bundle(tmp_path / "b", model_version="tiny-2")), day.user_vectors)
    assert day.verify(rankers=other).unverified == {
        "served by model tiny-1, but the bundle holds tiny-2": len(day.served)
    }
    bundle = open_bundle(day.bundle)
    version = served_features(day.served[0]).user_vectors
    elsewhere = RankersAsServed(bundle, a_user_table(tmp_path / "users", ["u1"]))
    assert day.verify(rankers=elsewhere).unverified == {
        f"version {version} of the user vectors is not in {tmp_path / 'users'} any more": len(day.served)
    }
    (reason,) = day.verify(rankers=RankersAsServed(bundle)).unverified
    assert reason.endswith("name their folder with --user-vectors")


def test_vectors_that_were_published_since_do_not_matter_while_those_of_then_are_kept(day):
    a_user_table(day.user_vectors, ["u1"], seed=11)
    assert day.verify().verified == len(day.served)


def test_a_tolerance_forgives_the_rounding_of_another_machine_but_no_more(day):
    def nudged(by: float) -> Day:
        def nudge(record: Recorded) -> Recorded:
            items = [item | {"score": item["score"] + by} for item in msgspec.json.decode(record.value)["items"]]
            return changed(record, items=items, features="0" * 32)

        return replace(day, served=[nudge(one) for one in day.served])

    report = nudged(1e-7).verify(tolerance=1e-5)
    assert (report.verified, report.other_features) == (len(day.served), len(day.served))
    assert len(nudged(1e-3).verify(tolerance=1e-5).differences) == len(day.served)


def test_sessions_that_another_model_folded_are_no_difference_of_this_one(day, tmp_path):
    """The same bundle under another name with other weights takes over in the middle: states remember the first."""
    path = tmp_path / "live"
    serving = LiveRanker.open(a_bundle(path), day.user_vectors, check_every_s=1e9)
    swap = partial(a_bundle, path, model_version="tiny-9", seed=5)
    swapped = SwappingRanker(serving, {len(day.served) // 2: swap})
    later = replace(a_day(tmp_path, serving=swapped), bundle=path, user_vectors=day.user_vectors)
    report = later.verify()
    assert report.differences == []
    assert report.unverified["served by model tiny-1, but the bundle holds tiny-9"] == len(day.served) // 2
    assert report.unverified[FOLDED_BY_ANOTHER] > 0
    assert report.verified > 0


@pytest.fixture(scope="module")
def counted_day(tmp_path_factory) -> Day:
    """A day in whose middle item counts are published, and once more after it."""
    folder = tmp_path_factory.mktemp("counted")
    serving = LiveRanker.open(a_bundle(folder / "bundle"), a_user_table(folder / "users", ["u1"]), folder / "counts")
    swaps = {after: partial(publish_some, folder / "counts", seed) for after, seed in ((10, 6), (20, 7))}
    day = replace(a_day(folder, serving=SwappingRanker(serving, swaps)), item_counts=folder / "counts")
    publish_some(folder / "counts", seed=8)
    return day


def test_answers_of_several_versions_of_the_item_counts_are_reproduced_to_the_bit(counted_day):
    report = counted_day.verify()
    assert (report.verified, report.differences, report.unverified) == (len(counted_day.requests), [], {})
    used = [served_features(one).item_counts for one in counted_day.served]
    assert [None if one is None else one[:6] for one in used] == [
        *[None] * 10, *["000001"] * 10, *["000002"] * (len(used) - 20)
    ]  # fmt: skip
    assert report.item_counts == set(used)
    assert report.as_dict()["item_counts"] == sorted(version for version in set(used) if version)


def test_counts_that_are_gone_are_named_and_so_is_the_flag(counted_day, tmp_path):
    versions = sorted({served_features(one).item_counts for one in counted_day.served} - {None})
    unnamed = replace(counted_day, item_counts=None).verify()
    assert unnamed.unverified[f"served with item counts {versions[0]}; name their folder with --item-counts"] == 10
    gone = replace(counted_day, item_counts=tmp_path).verify()
    assert gone.unverified[f"version {versions[1]} of the item counts is not in {tmp_path} any more"] > 5
    assert (gone.verified, gone.differences) == (10, [])


@pytest.fixture(scope="module")
def interested_day(tmp_path_factory) -> Day:
    """A day in whose middle interests are published, of all users but one, and once more after it."""
    folder = tmp_path_factory.mktemp("interested")
    root, vectors = folder / "interests", a_user_table(folder / "users", ["u1"])
    serving = LiveRanker.open(a_bundle(folder / "bundle"), vectors, interests=root)
    swaps = {after: partial(publish_interests_of, root, USERS[1:], seed) for after, seed in ((10, 6), (20, 7))}
    day = replace(a_day(folder, serving=SwappingRanker(serving, swaps)), interests=root)
    publish_interests_of(root, USERS, seed=8)
    return day


def test_answers_of_several_versions_of_the_interests_are_reproduced_to_the_bit(interested_day):
    report = interested_day.verify()
    assert (report.verified, report.differences, report.unverified) == (len(interested_day.requests), [], {})
    used = [served_features(one).interests for one in interested_day.served]
    retrieved = [number for number, one in enumerate(interested_day.requests) if b'"limit"' in one.value]
    assert [used[number] and used[number][:6] for number in retrieved if number >= 10] == [
        "000001" if number < 20 else "000002" for number in retrieved if number >= 10
    ]
    assert all(one is UNSET for number, one in enumerate(used) if number < 10 or number not in retrieved)
    sources = {item.source for number in retrieved[4:] for item in served_features(interested_day.served[number]).items}
    assert {"interest:1", "interest:2", "recent-likes"} <= sources
    assert report.interests == {one for one in used if one is not UNSET}


@pytest.fixture(scope="module")
def walked_day(tmp_path_factory):
    """A day in whose middle a graph is published, and another one."""
    folder = tmp_path_factory.mktemp("walked")
    root = folder / "graph"
    serving = LiveRanker.open(a_bundle(folder / "bundle"), a_user_table(folder / "users", ["u1"]), graph=root)
    boards = [[(item % width, item) for item in range(1, 200)] for width in (40, 50)]
    swaps = {after: partial(publish_boards, root, pairs) for after, pairs in zip((10, 20), boards, strict=True)}
    return replace(a_day(folder, serving=SwappingRanker(serving, swaps)), graph=root)


def test_answers_of_several_versions_of_the_graph_are_reproduced_to_the_bit_and_a_missing_flag_is_named(walked_day):
    used = {served_features(one).graph for one in walked_day.served} - {UNSET}
    assert len(used) == 2
    report = walked_day.verify()
    assert (report.differences, sum(report.unverified.values()), report.graphs) == ([], 0, used)
    unnamed = replace(walked_day, graph=None).verify()
    assert unnamed.unverified[f"served with graph {min(used)}; name their folder with --graph"] > 0


def test_an_explanation_says_because_of_which_item_an_interest_proposed_another(interested_day):
    records = zip(interested_day.served, interested_day.requests, strict=True)
    record, request = next((one, asks) for one, asks in records if b'"because_of"' in one.value)
    answer = served_features(record)
    item = next(item for item in answer.items if item.because_of is not UNSET)
    found = explain(
        answer, request, interested_day.actions, interested_day.rankers(), interested_day.history_limit,
        [item.item_id],
    )  # fmt: skip
    assert [(one.source, one.because_of) for one in found.items] == [(item.source, item.because_of)]


def test_interests_that_are_gone_are_named_and_so_is_the_flag(interested_day, tmp_path):
    versions = sorted({served_features(one).interests for one in interested_day.served} - {UNSET})
    unnamed = replace(interested_day, interests=None).verify()
    assert unnamed.unverified[f"served with interests {versions[0]}; name their folder with --interests"] > 0
    gone = replace(interested_day, interests=tmp_path).verify()
    assert gone.unverified[f"version {versions[1]} of the interests is not in {tmp_path} any more"] > 0
    assert gone.differences == []


def test_answers_of_workers_that_knew_no_item_counts_are_those_of_the_bundles_own(day):
    records = [msgspec.json.decode(one.value) for one in day.served]
    older = [
        replace(
            one, value=msgspec.json.encode({name: value for name, value in fields.items() if name != "item_counts"})
        )
        for one, fields in zip(day.served, records, strict=True)
    ]
    assert {fields["item_counts"] for fields in records} == {None}
    assert replace(day, served=older).verify().verified == len(day.served)


def test_what_is_no_served_record_is_refused_with_its_offset(day):
    with pytest.raises(VerifyError, match="offset 0 of ranking-requests, partition 0, is not one of served-features"):
        replace(day, served=day.requests).verify()


@pytest.mark.parametrize(
    "policy", [RelativePlackettLuce(0.3), PlackettLuce(0.3), EpsilonGreedy(0.3)], ids=lambda policy: policy.text
)
def test_what_was_explored_is_reproduced_from_a_reopened_bundle_too(policy, tmp_path):
    bundle = a_bundle(tmp_path / "bundle")
    day = a_day(tmp_path, actions=120, serving=LiveRanker.open(bundle, exploration=Exploration(policy, seed=5)))
    report = verify_served(day.served, day.requests, day.actions, RankersAsServed(open_bundle(bundle)), 20)
    assert served_features(day.served[1]).policy == f"{policy.text} seed=5"
    assert (report.verified, report.differences, report.unverified) == (len(day.requests), [], {})


def test_answers_of_another_scorer_are_reproduced_by_it_and_named(tmp_path):
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    serving = LiveRanker.open(
        a_bundle(tmp_path / "bundle"), a_user_table(tmp_path / "users", ["u1"]), scorer="openvino"
    )
    day = a_day(tmp_path, actions=120, serving=serving)
    assert {served_features(one).scorer for one in day.served} == {"openvino"}
    report = day.verify()
    assert (report.verified, report.as_dict()["scorers"]) == (len(day.served), ["openvino"])


def test_answers_of_a_scorer_that_can_not_be_had_here_are_counted_with_the_reason(day):
    elsewhere = replace(day, served=[changed(one, scorer="abacus") for one in day.served])
    ((reason, count),) = elsewhere.verify().unverified.items()
    assert count == len(day.served)
    assert reason.startswith("scored by abacus, which can't be used here: ")
    assert "there is no scorer 'abacus' in this version" in reason
