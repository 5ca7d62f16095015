"""Answers to the byte as version 0.1.0 wrote them: feeds, what they were made from, dead letters, refusals.

Each line of ``recorded_answers.jsonl`` is one record of ranking-requests and what came out for it then, but that what
an answer was made from names its item counts since then, a request as of seconds ago is one as of now, and the letter
of a wrong time says how to write one. The ranker is the null one, whose numbers are the same on every machine.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rankstream.ranking import ranker
from rankstream.ranking.backends.constant import ConstantBackend
from rankstream.ranking.exploration import NO_EXPLORATION, Exploration
from rankstream.ranking.policies import EpsilonGreedy
from rankstream.ranking.serving import LiveRanker
from tests.builders.actions import MORNING_MS, VOCABULARY, ARecord, SomeLiveRanker, a_pipeline, an_event

RECORDED = Path(__file__).with_name("recorded_answers.jsonl").read_text(encoding="utf-8").splitlines()


def a_null_ranker(explores: bool) -> SomeLiveRanker:
    serving = SomeLiveRanker()
    serving.current = replace(
        LiveRanker.without_bundle(VOCABULARY).current,
        model_version="m1",
        heads=("click", "save"),
        weights=(1.0, 3.0),
        backend=ConstantBackend((0.25, 0.5)),
        exploration=Exploration(EpsilonGreedy(0.5), seed=7) if explores else NO_EXPLORATION,
    )
    return serving


@pytest.mark.parametrize("line", RECORDED, ids=[f"line{n}" for n in range(len(RECORDED))])
def test_answers_are_the_bytes_that_they_always_were(line: str, monkeypatch: pytest.MonkeyPatch):
    then = json.loads(line)
    monkeypatch.setattr(ranker, "perf_counter", lambda: 0.0)
    pipeline = a_pipeline(a_null_ranker(then["exploration"]))
    pipeline.clock, pipeline.log_served = lambda: MORNING_MS + 50, True
    pipeline.on_actions([an_event("u1", item, at=-n, offset=n) for n, item in enumerate([5, 6, 5])])
    value, key = (None if one is None else one.encode() for one in (then["value"], then["key"]))
    request = ARecord(value, key, then["offset"], "ranking-requests", partition=3)
    answers = [[one.channel.value, one.value.decode()] for one in pipeline.on_requests([request]).answer()]
    assert answers == then["answers"]
