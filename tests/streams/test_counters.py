"""What a pipeline counts: each record and each answer once, and sums that do not depend on who counted."""

from dataclasses import fields

from rankstream.ranking.request import Ranking
from rankstream.streams.counters import Counters, total_of
from rankstream.streams.histogram import Histogram
from tests.builders.actions import MORNING_MS, ARecord, a_pipeline, a_request, an_event

SECOND_MS = 1_000


def a_ranking(newest_action_age_ms: int | None = 2_000) -> Ranking:
    timings = {"join": 2.0, "score": 30.0, "total": 40.0, "of_another_version": 1.0}
    return Ranking((), (), "m", 3, newest_action_age_ms, False, 2, timings, num_candidates=5)


def test_actions_are_counted_by_what_became_of_them():
    pipeline = a_pipeline()
    pipeline.on_actions([an_event("u1", offset=0), an_event("u1", offset=1)])
    seen = pipeline.counters
    assert (seen.actions, seen.duplicates) == (1, 1)
    pipeline.on_actions([an_event("u1", offset=1)])
    assert pipeline.counters.redelivered == 1


def test_a_ranking_is_counted_with_its_stages_its_freshness_and_what_it_did_not_know():
    seen = Counters()
    seen.rank(a_ranking(), asked_ms=MORNING_MS, answered_ms=MORNING_MS + 3 * SECOND_MS)
    seen.rank(a_ranking(newest_action_age_ms=None), asked_ms=-1, answered_ms=MORNING_MS)
    assert (seen.ranked, seen.candidates, seen.unknown_items, seen.without_history) == (2, 10, 4, 1)
    assert seen.stage_s["score"].sum == 0.06
    assert seen.stage_s["retrieve"].count == 0
    assert (seen.answer_s.count, seen.answer_s.sum) == (1, 3.0)  # one request's record had no time
    assert (seen.newest_action_age_s.count, seen.newest_action_age_s.sum) == (1, 2.0)


def test_answers_are_ranked_refused_or_by_popularity():
    pipeline = a_pipeline()
    pipeline.on_requests([a_request("u1"), a_request("u2")]).answer()
    pipeline.on_requests([ARecord(b"{}")])
    pipeline.on_requests([a_request("u1", deadline_ms=MORNING_MS - 1)]).answer()
    pipeline.on_too_many([a_request("u1")]).by_popularity()
    seen = pipeline.counters
    assert (seen.ranked, seen.shed, seen.fallbacks) == (2, 1, 1)
    assert seen.refused == {"deadline-passed": 1}
    assert seen.rejected == {"schema": 1}


def test_each_field_is_added_up():
    one = Counters()
    for known in fields(one):
        now = getattr(one, known.name)
        if isinstance(now, int):
            setattr(one, known.name, 3)
        elif isinstance(now, Histogram):
            now.observe(1.0)
        elif not now:
            now["reason"] = 2
        else:
            next(iter(now.values())).observe(1.0)
    total = total_of([one, one])
    doubled = {known.name: _numbers(getattr(one, known.name), 2) for known in fields(one)}
    assert {known.name: _numbers(getattr(total, known.name), 1) for known in fields(total)} == doubled


def _numbers(value: object, times: int) -> object:
    if isinstance(value, Histogram):
        return [times * count for count in value.counts]
    if isinstance(value, dict):
        return {key: _numbers(one, times) for key, one in value.items()}
    return times * value  # type: ignore[operator]
