"""Why an item has its rank: every number of it computed here in another way."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest

from rankstream.evaluation.audit.explain import ExplainError, explain
from rankstream.evaluation.audit.explanation import Explanation
from rankstream.evaluation.audit.occlusion import NO_ACTIONS, NO_USER_VECTOR
from rankstream.evaluation.point_in_time import PartitionStates
from rankstream.events.action_event import ActionEvent, Recorded
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.features.user_state import UserState
from rankstream.ranking.exploration import Exploration
from rankstream.ranking.policies import RelativePlackettLuce
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import Ranking
from rankstream.streams.codec import ServedFeatures, decode_request
from rankstream.streams.records import recorded_actions
from tests.builders.actions import a_pipeline
from tests.builders.served import SECOND_MS, USERS, Day, a_day, changed

PLAIN = {"request_id", "user_id", "candidates"}  # fields of a request without retrieval and groups


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Day:
    return a_day(tmp_path_factory.mktemp("day"), actions=400)


def answers(day: Day) -> dict[str, tuple[ServedFeatures, Recorded]]:
    served = (msgspec.json.decode(one.value or b"", type=ServedFeatures) for one in day.served)
    return {str(one.request_id): (one, day.requests[one.offset]) for one in served}


def explained(day: Day, request_id: str, *items, actions=None) -> Explanation:
    served, request = answers(day)[request_id]
    return explain(served, request, actions or day.actions, day.rankers(), day.history_limit, items)


@pytest.fixture(scope="module")
def explanations(day) -> dict[str, Explanation]:
    """Every answer of the day, explained."""
    return {request_id: explained(day, request_id) for request_id in answers(day)}


def ranked_again(day: Day, ranker: Ranker, request_id: str, without: int | None = None) -> Ranking:
    """Rank a request with a state made from the user's records, one of them left out, with all ranks in the answer."""
    served, request = answers(day)[request_id]
    pipeline = a_pipeline(limit=1_000)
    pipeline.serving.vocabulary = day.rankers().bundle.manifest.vocabulary
    gone = None if without is None else day.actions[without].value  # which may have been sent twice
    pipeline.on_actions([one for one in day.actions if one.offset <= served.state_offset and one.value != gone])
    full_request = msgspec.structs.replace(decode_request(request), top_k=None)
    return ranker.rank(full_request, pipeline.users.get(request.key), served.at_ms)


def ranks_and_scores(ranking: Ranking) -> dict[object, tuple[int, float]]:
    return {item.item_id: (rank, item.score) for rank, item in enumerate(ranking.items, start=1)}


def an_early_request(day: Day) -> str:
    """A request with candidates of a known user who has done a few things, all of which the history holds."""
    return next(
        request_id
        for request_id, (served, request) in answers(day).items()
        if 3 <= served.state_actions <= day.history_limit
        and msgspec.json.decode(request.value).keys() - {"surface"} == PLAIN
    )


def test_what_is_explained_is_what_was_served(day, explanations):
    for request_id, (served, _) in answers(day).items():
        explanation = explanations[request_id]
        assert explanation.identical
        best = zip(explanation.items, served.items, strict=False)
        assert [(one.item_id, one.score) for one, _ in best] == [(one.item_id, one.score) for one in served.items[:3]]


def test_a_deadline_that_has_long_passed_does_not_keep_an_answer_from_being_explained(day):
    served, request = answers(day)[an_early_request(day)]
    changed_request = changed(request, deadline_ms=served.at_ms - 1)
    assert explain(served, changed_request, day.actions, day.rankers(), day.history_limit).identical


def test_the_terms_of_the_utility_add_up_to_the_score(day):
    weights = day.rankers().bundle.manifest.utility
    for item in explained(day, an_early_request(day)).items:
        assert sum(term.term for term in item.terms) == pytest.approx(item.score, abs=1e-12)
        assert {term.head: term.weight for term in item.terms} == weights
        assert all(term.term == term.weight * term.probability for term in item.terms)


def test_the_effect_of_an_action_is_what_the_score_lacks_had_it_never_been(day):
    request_id = an_early_request(day)
    served, _ = answers(day)[request_id]
    ranker = day.rankers().ranker(served)
    explanation = explained(day, request_id)
    base = ranks_and_scores(ranked_again(day, ranker, request_id))
    assert explanation.history
    for action in explanation.history:
        without = ranks_and_scores(ranked_again(day, ranker, request_id, without=action.offset))
        for item in explanation.items:
            (effect,) = (one for one in item.effects if one.of == action.number)
            rank, score = without[item.item_id]
            assert (effect.rank_without, effect.score) == (rank, base[item.item_id][1] - score)


def test_the_effect_of_all_actions_and_of_the_user_vector_come_first(day):
    request_id = next(
        request_id
        for request_id, (served, _) in answers(day).items()
        if served.user_id in USERS[:4] and served.state_actions
    )
    served, request = answers(day)[request_id]
    ranker = day.rankers().ranker(served)
    item = explained(day, request_id).items[0]
    assert [effect.of for effect in item.effects[:2]] == [NO_ACTIONS, NO_USER_VECTOR]
    blind = replace(ranker, offline=replace(ranker.offline, users=NoVectors(ranker.offline.users.dim)))
    ranked_request = msgspec.structs.replace(
        decode_request(request),
        candidates=tuple(range(1, 201)),
        limit=None,
        groups=None,
        max_per_group=None,
        top_k=None,
    )
    state = state_then(day, served, request)
    seen, unseen = (ranks_and_scores(one.rank(ranked_request, state, served.at_ms)) for one in (ranker, blind))
    assert item.effects[1].score == pytest.approx(seen[item.item_id][1] - unseen[item.item_id][1], abs=1e-12)


def state_then(day: Day, served: ServedFeatures, request: Recorded) -> UserState:
    states = PartitionStates(day.rankers().serving(), {request.key}, day.history_limit)
    for action in day.actions[: served.state_offset + 1]:
        states.apply(action)
    return states.state(request.key)


def test_actions_are_shown_as_their_records_hold_them(day):
    served, _ = answers(day)[an_early_request(day)]
    explanation = explained(day, str(served.request_id))
    events = {one.offset: msgspec.json.decode(one.value, type=ActionEvent) for one in day.actions}
    times = [action.occurred_at_ms for action in explanation.history]
    assert times == sorted(times, reverse=True)
    for action in explanation.history:
        event = events[action.offset]
        assert (action.item_id, action.action, action.surface) == (event.item_id, event.action, event.surface)
        assert action.age_ms == served.at_ms - event.timestamp_ms
        assert action.value == (None if event.value is None else pytest.approx(event.value, rel=0.022))
        assert action.in_item_table == (event.item_id != "new item")


def test_sessions_are_shown_as_the_model_reads_them(day, explanations):
    assert {explanation.sessions.folded for explanation in explanations.values()} == {True, False}
    for explanation in explanations.values():
        history, sessions = explanation.history, explanation.sessions
        for newer, older in pairwise(history):
            assert (older.session > newer.session) == (older.age_ms - newer.age_ms > SESSION_GAP_MS)
        if history and not sessions.folded and explanation.state_actions <= day.history_limit:
            is_open = history[0].age_ms <= SESSION_GAP_MS
            assert sessions.closed_in_history == history[-1].session + (not is_open)
            assert sessions.open_items == (sum(one.session == 0 for one in history) if is_open else 0)


def test_what_had_happened_but_was_on_its_way_is_shown(day):
    served, request = answers(day)[an_early_request(day)]
    late = ActionEvent(served.user_id, 42, "save", served.at_ms - 5 * SECOND_MS)
    ahead = ActionEvent(served.user_id, 43, "save", served.at_ms + 5 * SECOND_MS)
    begins = len(day.actions)
    tail = [replace(one, timestamp=request.timestamp + 3_000) for one in recorded_actions([late, ahead], begins)]
    cut = [one for one in day.actions if one.offset <= served.state_offset]
    (missed,) = explained(day, str(served.request_id), actions=[*cut, *tail]).missed
    assert (missed.item_id, missed.offset) == (42, begins)
    assert missed.arrival_delay_ms == 5_000 + 3_000  # the request was sent at the time that it was ranked at


def test_what_happened_after_the_request_is_not_known(day):
    """A request may ask for an earlier time than that of its state."""
    served, request = answers(day)[an_early_request(day)]
    newest = explained(day, str(served.request_id)).history
    earlier = newest[1].occurred_at_ms
    earlier_request = replace(changed(request, timestamp_ms=earlier), timestamp=earlier + 600_000)
    explanation = explain(
        msgspec.structs.replace(served, at_ms=earlier), earlier_request, day.actions, day.rankers(), day.history_limit
    )
    known = [action for action in newest if action.occurred_at_ms <= earlier]
    assert [action.offset for action in explanation.history] == [action.offset for action in known]
    assert explanation.history[0].age_ms == 0


def test_any_candidate_can_be_explained_and_nothing_else(day):
    request_id = an_early_request(day)
    _, request = answers(day)[request_id]
    last = msgspec.json.decode(request.value)["candidates"][-1]
    (item,) = explained(day, request_id, str(last)).items
    assert item.item_id == last
    with pytest.raises(ExplainError, match=rf"item 9999 is not in the answer to request {request_id}"):
        explained(day, request_id, "9999")


def test_an_explanation_shows_if_it_is_not_of_what_was_served(day):
    served, request = answers(day)[an_early_request(day)]
    other = msgspec.structs.replace(served, features="0" * 32)
    explanation = explain(other, request, day.actions, day.rankers(), day.history_limit)
    assert not explanation.identical
    assert explanation.differs == "the features differ, the scores do not"


def test_an_unknown_user_is_explained_by_the_candidates_alone(day):
    request_id = next(one for one, (served, _) in answers(day).items() if served.user_id == "unknown")
    explanation = explained(day, request_id)
    assert (explanation.history, explanation.state_offset, explanation.user_vector.found) == ((), -1, False)
    assert {effect.score for item in explanation.items for effect in item.effects} == {0.0}


def test_a_log_that_lacks_the_state_is_refused(day):
    served, _ = answers(day)[an_early_request(day)]
    with pytest.raises(ExplainError, match="give a log that holds all actions of the user"):
        explained(day, str(served.request_id), actions=day.actions[: served.state_offset])


def test_candidates_that_are_not_in_the_item_table_are_named(day, explanations):
    for request_id, (_, request) in answers(day).items():
        given = msgspec.json.decode(request.value).get("candidates", [])
        assert list(explanations[request_id].unknown_items) == [item for item in dict.fromkeys(given) if item > 200]


def test_what_was_explored_is_shown_apart_from_the_score(tmp_path):
    explored = a_day(tmp_path, actions=200, exploration=Exploration(RelativePlackettLuce(1.0), seed=5))
    ranks = [
        (item.rank, item.served_rank)
        for request_id, (served, _) in answers(explored).items()
        for item in explained(explored, request_id).items
        if served.policy == "plackett-luce relative-temperature=1.0 seed=5" and 0 < item.propensity <= 1
    ]
    assert [served for _, served in ranks] == [1, 2, 3] * (len(ranks) // 3)
    assert any(rank != served for rank, served in ranks)


def test_actions_of_a_clock_that_is_ahead_are_explained_as_they_were_used(tmp_path):
    day = a_day(tmp_path, actions=200, ahead_ms=180_000)
    explanations = [explained(day, request_id) for request_id in answers(day)]
    assert all(one.identical for one in explanations)
    ages_ms = [(one.at_ms - action.occurred_at_ms, action.age_ms) for one in explanations for action in one.history]
    assert sum(age_ms < 0 for age_ms, _ in ages_ms) > 10
    assert all(used == max(0, age_ms) for age_ms, used in ages_ms)
