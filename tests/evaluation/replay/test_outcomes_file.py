"""The outcomes of a replay as a file: whole or not at all, ids as they came, null where there is nothing to say."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.evaluation.replay.outcomes import ALL, Outcomes, RankedQuery, score_random, score_ranking
from rankstream.evaluation.replay.outcomes_file import write_outcomes
from rankstream.evaluation.replay.variants import ReplayError

AT_MS = 1_700_000_000_123


def some_outcomes(*users):
    """A found target, two relevant items of which one is not ranked, and a miss of all rankers."""
    outcomes = Outcomes((3,), (ALL, "save"), baselines={"random order": "nothing"})
    relevant = [{ALL: np.array([0])}, {ALL: np.array([0, 2]), "save": np.array([2])}, {ALL: np.zeros(0, np.int64)}]
    targets = [("a",), ("a", "c"), ("new",)]
    for number, user in enumerate(users):
        query = RankedQuery(
            str(user), AT_MS, 5, False, 3, relevant[number], number < 2, f"{number:016x}", user, targets[number]
        )
        outcomes.queries.append(query)
        score_ranking(outcomes.variant("bundle"), outcomes.heads, (3,), query, np.array([2.0, 1.0, np.inf]))
        score_random(outcomes.variant("random order"), outcomes.heads, (3,), query)
    return outcomes


def written(outcomes, path, own=()):
    write_outcomes(outcomes, path, own)
    return pq.read_table(path)


def test_each_request_has_a_row_of_each_ranker(tmp_path):
    table = written(some_outcomes(7, 8, 9), tmp_path / "new" / "outcomes.parquet")
    rows = table.to_pylist()
    assert [(row["variant"], row["kind"]) for row in rows] == [("bundle", "variant")] * 3 + [
        ("random order", "baseline")
    ] * 3
    assert [row["ranks"] for row in rows] == [[2], [2, None], [None], None, None, None]
    assert [row["targets"] for row in rows[:3]] == [["a"], ["a", "c"], ["new"]]
    assert [row["hit@3"] for row in rows[:3]] == [1.0, 1.0, 0.0]
    assert [row["hit@3 of save"] for row in rows[:3]] == [None, 0.0, None]
    assert [row["target_known"] for row in rows[:3]] == [True, True, False]
    assert rows[3]["mrr"] is None
    assert table.schema.field("as_of").type == pa.timestamp("ms", "UTC")


def test_ids_stay_as_they_came(tmp_path):
    assert written(some_outcomes(7, 8), tmp_path / "a").schema.field("user_id").type == pa.int64()
    mixed = written(some_outcomes(7, "0108"), tmp_path / "b").column("user_id").to_pylist()
    assert mixed == ["7", "0108"] * 2


def test_a_file_that_cant_be_written_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(ReplayError, match=r"can't be written to .*; name another file"):
        write_outcomes(some_outcomes(1), tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
