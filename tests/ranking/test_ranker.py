from dataclasses import dataclass, replace

import numpy as np
import pytest
from msgspec import UNSET

from rankstream.features.actions import pack_action
from rankstream.features.embeddings.live import LiveTable
from rankstream.features.ids import id_key
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.backends.constant import ConstantBackend
from rankstream.ranking.exploration import Exploration
from rankstream.ranking.policies import EpsilonGreedy, RelativePlackettLuce
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import RankingRefusedError, RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.retrieval.mix import MixedSource, Quota
from rankstream.retrieval.source import Proposals
from tests.builders.bundle import SIZES, VOCABULARY, a_bundle, a_user_table
from tests.builders.retrieval import NewestItems

NOW = 1_700_000_100_000


@pytest.fixture(scope="module")
def ranker(tmp_path_factory) -> Ranker:
    folder = tmp_path_factory.mktemp("serving")
    return LiveRanker.open(a_bundle(folder / "bundle"), a_user_table(folder / "users", ["u1", 7])).current


def a_request(**fields):
    return RankingRequest(**{"request_id": "r", "user_id": "u1", "candidates": (1, 2, 3)} | fields)


def a_user(*items, action="save", ago_ms=60_000):
    code = VOCABULARY.action_codes[action]
    actions = [pack_action(NOW - ago_ms + n, code, id_key(item), 0, 0) for n, item in enumerate(items)]
    return UNKNOWN_USER.apply(actions, len(actions)).state


def ids(ranking):
    return [item.item_id for item in ranking.items]


def test_a_feed_holds_the_candidates_best_first(ranker):
    ranking = ranker.rank(a_request(), a_user(5, 6), NOW)
    scores = [item.score for item in ranking.items]
    assert sorted(ids(ranking)) == [1, 2, 3]
    assert scores == sorted(scores, reverse=True)
    best = ranking.items[0].probabilities
    assert scores[0] == pytest.approx(3 * best["save"] + best["click"] - 5 * best["hide"])
    assert set(ranking.timings_ms) == {"retrieve", "join", "score", "blend", "total"}


def test_what_a_user_did_just_now_changes_the_feed(ranker):
    request = a_request(candidates=tuple(range(1, 101)))
    before, after = (ranker.rank(request, state, NOW) for state in (a_user(5), a_user(5, 6)))
    assert ids(before) != ids(after)
    assert (before.actions_used, after.actions_used) == (1, 2)


def test_a_ranking_reports_what_was_known(ranker):
    known = ranker.rank(a_request(candidates=(1, "no such item", 999)), a_user(5, ago_ms=2_000), NOW)
    assert (known.actions_used, known.newest_action_age_ms, known.user_vector_found) == (1, 2_000, True)
    assert known.unknown_items == 2
    unknown = ranker.rank(a_request(user_id="unknown"), UNKNOWN_USER, NOW)
    assert (unknown.actions_used, unknown.newest_action_age_ms, unknown.user_vector_found) == (0, None, False)


def test_a_request_is_ranked_as_of_its_own_timestamp(ranker):
    state = a_user(5, ago_ms=400_000)
    earlier = ranker.rank(a_request(timestamp_ms=NOW - 500_000), state, NOW)
    assert earlier.actions_used == 0
    assert earlier.items == ranker.rank(a_request(), UNKNOWN_USER, NOW - 500_000).items


def test_the_surface_of_a_request_changes_its_feed_and_an_unknown_one_is_none(tmp_path):
    sees = LiveRanker.open(a_bundle(tmp_path, sizes=replace(SIZES, surfaces=2))).current
    home, search, attic, none = (
        [item.score for item in sees.rank(a_request(surface=name), UNKNOWN_USER, NOW).items]
        for name in ("home", "search", "attic", None)
    )
    assert attic == none
    assert len({tuple(scores) for scores in (home, search, none)}) == 3


def test_a_ranker_without_surfaces_answers_as_if_there_were_none(ranker):
    home, none = (ranker.rank(a_request(surface=name), UNKNOWN_USER, NOW) for name in ("home", None))
    assert home.items == none.items


def test_ids_come_back_as_they_came_and_each_once(ranker):
    ranking = ranker.rank(a_request(candidates=("2", 1, 2, "x", "x")), UNKNOWN_USER, NOW)
    assert sorted(map(repr, ids(ranking))) == ["'2'", "'x'", "1"]


def test_a_score_is_the_same_whatever_stands_beside_it(ranker):
    all_scores = {item.item_id: item for item in ranker.rank(a_request(candidates=range(1, 201)), a_user(5), NOW).items}
    few = ranker.rank(a_request(candidates=(150, 3, 77)), a_user(5), NOW)
    assert all(item == all_scores[item.item_id] for item in few.items)


def test_groups_are_capped_and_follow_their_candidates(ranker):
    request = a_request(candidates=(1, 1, 2, 3, 4), groups=("a", "a", "b", "a", "b"), max_per_group=1, top_k=9)
    owners = {1: "a", 2: "b", 3: "a", 4: "b"}
    assert sorted(owners[item] for item in ids(ranker.rank(request, UNKNOWN_USER, NOW))) == ["a", "b"]


def test_without_candidates_items_near_to_the_user_are_ranked(ranker):
    state = a_user(5, 6)
    ranking = ranker.rank(a_request(candidates=None, limit=30, top_k=10), state, NOW)
    assert len(ranking.items) == 10
    assert not {5, 6} & set(ids(ranking))
    assert len(ranker.rank(a_request(candidates=None, limit=3, user_id="unknown"), UNKNOWN_USER, NOW).items) == 3


def test_another_source_is_mixed_in_without_a_change_to_the_ranker(ranker):
    newest = NewestItems(tuple(range(1, 201)))
    mixed = replace(ranker, source=MixedSource(Quota(ranker.source, 9), Quota(newest, 1)))
    request, state = a_request(candidates=None, limit=20), a_user(200, 6)
    likes, both = (set(ids(one.rank(request, state, NOW))) for one in (ranker, mixed))
    assert len(both) == 20
    assert {199, 198} <= both
    assert len(both & likes) >= 18
    assert not {200, 6} & both
    assert {item.source for item in mixed.rank(request, state, NOW).items} == {"recent-likes", "new"}
    assert {item.source for item in ranker.rank(request, state, NOW).items} == {UNSET}  # it has no other


def test_without_a_source_candidates_must_be_given(ranker):
    with pytest.raises(RankingRefusedError, match="give candidates in the request"):
        replace(ranker, source=None).rank(a_request(candidates=None, limit=3), UNKNOWN_USER, NOW)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"candidates": ()}, "no-candidates"),
        ({"candidates": None}, "no-candidates"),
        ({"candidates": tuple(range(5_001))}, "too-many-candidates"),
        ({"candidates": None, "limit": 0}, "bad-limit"),
        ({"candidates": None, "limit": 5_001}, "bad-limit"),
        ({"top_k": 0}, "bad-limit"),
        ({"groups": (1, 2)}, "bad-groups"),
        ({"max_per_group": 1}, "bad-groups"),
        ({"groups": (1, 2, 3), "max_per_group": 0}, "bad-groups"),
    ],
)
def test_what_cant_be_answered_is_refused_with_its_reason(ranker, fields, reason):
    with pytest.raises(RankingRefusedError) as refused:
        ranker.rank(a_request(**fields), UNKNOWN_USER, NOW)
    assert refused.value.reason == reason


def test_a_deadline_is_the_pipelines_affair(ranker):
    assert len(ranker.rank(a_request(deadline_ms=NOW), UNKNOWN_USER, NOW).items) == 3
    assert len(ranker.rank(a_request(deadline_ms=NOW - 1), UNKNOWN_USER, NOW).items) == 3


def test_a_score_that_is_no_number_never_leaves(ranker):
    broken = replace(ranker, backend=ConstantBackend((np.nan, 0, 0)))
    with pytest.raises(RankingRefusedError, match="tiny-1 gave a score that is no number"):
        broken.rank(a_request(), UNKNOWN_USER, NOW)


def test_the_null_ranker_keeps_the_order_it_was_given(ranker):
    constant = replace(ranker, backend=ConstantBackend((0.1, 0.1, 0.1)))
    assert ids(constant.rank(a_request(candidates=(3, 1, 2)), a_user(5), NOW)) == [3, 1, 2]


def test_actions_of_types_that_the_model_does_not_know_are_left_out(ranker):
    share = pack_action(NOW - 1_000, 5, 9, 0, 0)
    state = a_user(5)
    ranking = ranker.rank(a_request(), state.apply([share], 9).state, NOW)
    assert ranking.actions_used == 1
    assert sorted(ids(ranking)) == [1, 2, 3]


@dataclass
class PublishingSource:
    """A source during whose work new user vectors are published, as happens once in a while."""

    users: LiveTable

    def propose(self, user, limit, scope=None):
        a_user_table(self.users.root, ["u1", 7], seed=99)
        self.users.refresh()
        return Proposals([1, 2, 3], ["publishing"] * 3)


def test_one_request_sees_one_version_of_the_user_vectors_and_reports_which(tmp_path):
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), a_user_table(tmp_path / "users", ["u1", 7]))
    table = serving.current.offline.users
    old, old_vectors = table.version, table.table.vectors.astype(np.float32)
    ranking = replace(serving.current, source=PublishingSource(table)).rank(
        a_request(candidates=None, limit=3), UNKNOWN_USER, NOW
    )
    assert table.version != old
    assert ranking.user_vectors == old
    assert ranking.inputs.user_vector.tolist() in old_vectors.tolist()


@pytest.mark.parametrize("policy", [RelativePlackettLuce(0.5), EpsilonGreedy(0.5)], ids=lambda policy: policy.text)
def test_exploration_changes_the_order_and_reports_how_likely_it_was(ranker, policy):
    exploring = replace(ranker, exploration=Exploration(policy, seed=4))
    requests = [a_request(request_id=n, candidates=tuple(range(1, 21)), top_k=5) for n in range(8)]
    rankings = [exploring.rank(request, a_user(5), NOW) for request in requests]
    greedy = ranker.rank(requests[0], a_user(5), NOW)
    assert len({tuple(ids(ranking)) for ranking in rankings}) == 8
    assert all(0 < item.propensity < 1 for ranking in rankings for item in ranking.items)
    assert {(ranking.policy, ranking.num_candidates) for ranking in rankings} == {(f"{policy.text} seed=4", 20)}
    assert (greedy.policy, {item.propensity for item in greedy.items}) == (None, {UNSET})
    assert (greedy.entropy, all(0 < ranking.entropy < 1 for ranking in rankings)) == (None, True)
    assert exploring.rank(requests[0], a_user(5), NOW).items == rankings[0].items


def test_exploration_leaves_scores_as_they_are(ranker):
    exploring = replace(ranker, exploration=Exploration(RelativePlackettLuce(0.5)))
    scores = [
        {item.item_id: item.score for item in one.rank(a_request(), a_user(5), NOW).items}
        for one in (ranker, exploring)
    ]
    assert scores[0] == scores[1]
