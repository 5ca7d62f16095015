"""Walks held against each other: boards of before the cut, questions of after it, where what was wanted is found."""

import numpy as np
import pytest

from rankstream.experiments.feed.task import Task
from rankstream.experiments.walks.__main__ import Row, built, ranks, rows_of
from rankstream.experiments.walks.asked import Asked
from rankstream.features.ids import id_keys
from rankstream.graph.build import GraphConfig
from rankstream.graph.membership_options import Edge
from rankstream.graph.topics import Topics
from rankstream.graph.walks import WalkConfig
from tests.builders.models import a_log

PAIRS = ("ab", "bc", "ab")
PAST = [(f"u{at}", item, "view", place) for at, pair in enumerate(PAIRS) for place, item in enumerate(pair)]
LATER = [("v", "a", "view", 5_000), ("v", "z", "hide", 5_001), ("v", "b", "view", 5_002), ("v", "b", "view", 5_003)]
TOPICS = Topics(np.sort(id_keys(list("abc"))), np.zeros(3, np.int64))


@pytest.fixture
def asked():
    log = a_log([*PAST, *LATER])
    task = Task(log, None, None, 1 << log.vocabulary.action_codes["view"])
    task.__dict__["cut_ms"] = int(log.times_ms[len(PAST)])
    return Asked(task)


def test_a_question_is_of_what_a_user_met_first_after_the_cut_and_knows_only_what_was_before(asked):
    (question,) = asked.questions(9, seed=0)
    assert question.wanted == id_keys(["b"])[0]
    assert question.newest.tolist() == id_keys(["a"]).tolist()
    assert sorted(question.seen.tolist()) == sorted(id_keys(["a", "z"]).tolist())
    assert len(asked.edges.items) == len(PAST)


def test_what_a_walk_finds_is_ranked_without_what_was_seen_and_rows_differ_in_one_thing(asked):
    edges, actions = asked.edges, asked.task.log.vocabulary.actions
    rows = {row.name: row for row in rows_of(edges, TOPICS, actions)}
    plain = built(rows["plain"], edges, TOPICS, actions, asked.task.cut_ms).graph
    assert ranks(plain, list(asked.questions(9, seed=0)), WalkConfig()).tolist() == [0]
    assert [row.config == GraphConfig() for row in rows.values()][:4] == [True] * 3 + [False]
    weighed = built(Row("", (Edge("view", "", 2.0),)), edges, TOPICS, actions, asked.task.cut_ms)
    assert weighed.edges == len(plain.graph.boards.rows) == 6
