"""Scores that people bring: looked up by query and item, missing ones last; bad ones are refused in one sentence."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.evaluation.replay.own_scores import OwnScores, PastActions, Question, UserAsOf, open_scores
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.features.ids import id_bytes, id_keys
from tests.builders.bundle import VOCABULARY
from tests.builders.replay import ALog

AT_MS = 1_700_000_000_000
ROWS = [{"query": "a1", "item_id": item, "score": score} for item, score in ((3, 0.5), ("x", 2.0), (7, 0.1))] + [
    {"query": "b2", "item_id": 3, "score": 9.0}
]


def a_question(query="a1", candidates=(7, 3, "x", 99)):
    return Question(query, UserAsOf("u", AT_MS, ()), candidates, id_keys(candidates))


def written(folder, rows, suffix):
    path = folder / f"mine{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        for name in ("query", "user_id", "item_id"):
            if name in columns:
                columns[name] = [str(one) for one in columns[name]]
        if suffix == ".csv":
            lines = [",".join(columns), *(",".join(str(row[name]) for name in columns) for row in rows)]
            path.write_text("\n".join(lines))
        else:
            pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_scores_are_found_by_query_and_item_and_missing_ones_rank_last(tmp_path, suffix):
    own = open_scores(str(written(tmp_path, ROWS, suffix)))
    assert own.name == f"mine{suffix}"
    assert own.ranks(a_question(), np.arange(4), 1).tolist() == [3, 2, 1, 4]
    assert own.ranks(a_question("b2", (7, 3)), np.arange(2), 1).tolist() == [2, 1]
    assert sorted(own.ranks(a_question("unknown", (7, 3)), np.arange(2), 1).tolist()) == [1, 2]
    assert (own.queries_without, own.candidates_without) == (1, 4)
    assert "no score for 4 of 8 candidates (1 of 3 requests have none at all): they rank last" in own.notes()[1]


@pytest.mark.parametrize("as_of", [AT_MS, "2023-11-14T22:13:20Z", "2023-11-14 22:13:20"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_queries_may_be_named_by_user_and_time(tmp_path, suffix, as_of):
    rows = [{"user_id": "u", "as_of": as_of, "item_id": item, "score": item} for item in (3, 7)]
    own = open_scores(str(written(tmp_path, rows, suffix)))
    assert own.ranks(a_question(candidates=(7, 3)), np.arange(2), 1).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mine.csv", "query,item,score\na,1,2\n", "has no column item_id; it has query, item, score"),
        ("mine.csv", "query,item_id,score\na,1,2\na,1,3\n", "has two scores for item 1 of one query"),
        ("mine.csv", "query,item_id,score\na,1,high\n", "score holds what is no number"),
        ("mine.csv", "user_id,as_of,item_id,score\nu,noon,1,2\n", "as_of holds no times"),
        ("mine.jsonl", "{not json", "is no readable jsonl file"),
        ("mine.jsonl", "7", "is no readable jsonl file"),
        ("mine.jsonl", '{"query": "a", "item_id": null, "score": 1}', "has rows without item_id"),
        ("mine.jsonl", '{"query": "a", "score": 1}', "has no column item_id; it has query, score"),
        ("mine.csv", "", "is no readable csv file"),
        ("mine.parquet", "PAR0", "is no readable parquet file"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ReplayError, match=words):
        open_scores(str(tmp_path / name))


def test_a_parquet_file_with_nulls_is_refused(tmp_path):
    pq.write_table(pa.table({"query": ["a", None], "item_id": [1, 2], "score": [1.0, 2.0]}), tmp_path / "mine.parquet")
    with pytest.raises(ReplayError, match="has rows without query"):
        open_scores(str(tmp_path / "mine.parquet"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ReplayError, match="can't be read"):
        open_scores(str(tmp_path / "none.parquet"))
    with pytest.raises(ReplayError, match=r"neither a file .* nor a Python function; write MODULE:FUNCTION"):
        open_scores("my scores")


def test_a_file_of_other_queries_is_refused_and_told_how_queries_are_named(tmp_path):
    own = open_scores(str(written(tmp_path, ROWS, ".csv")))
    own.ranks(a_question("c3"), np.arange(4), 1)
    with pytest.raises(ReplayError, match=r"has no score for any candidate of the 1 queries; .* --outcomes FILE"):
        own.notes()


# Functions ------------------------------------------------------------------------------------------------------------


def a_module(folder, monkeypatch, name, text):
    (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    return f"{name}:scores"


def test_a_function_scores_by_the_candidates_and_the_user_as_of_then(tmp_path, monkeypatch):
    text = "def scores(user, candidates):\n    return [None if one == 99 else len(str(one)) for one in candidates]\n"
    own = open_scores(a_module(tmp_path, monkeypatch, "scores_by_length", text))
    assert own.ranks(a_question(candidates=(7, 33, 444, 99)), np.arange(4), 1).tolist() == [3, 2, 1, 4]
    assert own.candidates_without == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('no model')", "failed: KeyError: 'no model'"),
        ("return [1.0]", "returned 1 scores for 4 candidates"),
        ("return 'abcd'", "holds no numbers"),
        ("return None", "returned NoneType that holds no numbers"),
    ],
)
def test_a_function_that_returns_no_scores_is_refused_in_one_sentence(tmp_path, monkeypatch, body, words):
    name = f"bad_scores_{abs(hash(body))}"
    own = open_scores(a_module(tmp_path, monkeypatch, name, f"def scores(user, candidates):\n    {body}\n"))
    with pytest.raises(ReplayError, match=words):
        own.ranks(a_question(), np.arange(4), 1)


def test_a_function_that_is_not_there_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ReplayError, match="can't be imported: ModuleNotFoundError"):
        open_scores("no_such_module_here:scores")
    with pytest.raises(ReplayError, match="json has no function scores"):
        open_scores("json:scores")


def test_a_function_is_given_what_arrived_before_newest_first():
    rows = [("u", item, "view", AT_MS + item) for item in range(1, 131)] + [("u", 200, "save", AT_MS + 130)]
    past = PastActions(VOCABULARY)
    for arrivals in ALog(rows, 7).batches(VOCABULARY):
        past.feed(arrivals)
    actions = past.of(id_bytes("u"), AT_MS + 130)
    assert [one.item_id for one in actions] == [*range(129, 29, -1)]
    assert (actions[0].action, actions[0].occurred_at_ms) == ("view", AT_MS + 129)
    assert past.of(id_bytes("u"), AT_MS + 131)[0].item_id == 200


def test_equal_scores_do_not_rank_in_the_order_of_candidates():
    class Constant:
        name = "constant"

        def scores(self, question):
            return np.ones(len(question.keys))

    own = OwnScores(Constant())
    ranks = [own.ranks(a_question(f"{n}", tuple(range(10))), np.array([0]), 1)[0] for n in range(2000)]
    assert np.mean(ranks) == pytest.approx(5.5, abs=0.3)
