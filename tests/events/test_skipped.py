"""What is left out of a log is counted by kind, with one example each."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.action_event import Recorded
from rankstream.events.arrivals import arrivals_of
from rankstream.events.open import LogOptions, open_log
from rankstream.events.readers.json_lines import INFINITE, UNKNOWN_SURFACE
from rankstream.events.skipped import MAX_KINDS, Skipped, Where
from rankstream.features.actions import Vocabulary
from tests.builders.actions import MORNING_MS, VOCABULARY
from tests.builders.logs import whole, write_log

GOOD = {"user_id": "u1", "item_id": 7, "action": "save", "timestamp_ms": MORNING_MS}
KINDS = ("log.parquet", "log.csv", "log.jsonl")


def test_the_most_common_kind_comes_first_with_its_first_example():
    skipped = Skipped()
    skipped.add("rare", "a", Where("f.csv", "row", 3))
    for n in range(2):
        skipped.add("common", f"example {n}", Where("g.csv", "row", n + 1))
    assert skipped.most_common() == [("common (g.csv, row 1: example 0)", 2), ("rare (f.csv, row 3: a)", 1)]
    assert (
        skipped.reasons()
        == "of 2 the reason is common (g.csv, row 1: example 0), of 1 the reason is rare (f.csv, row 3: a)"
    )
    assert skipped.exceeds(0.5, kept=2)
    assert not skipped.exceeds(0.5, kept=3)


def test_there_are_not_more_kinds_than_are_kept():
    skipped = Skipped()
    for n in range(3 * MAX_KINDS):
        skipped.add(f"kind {n}", "an example")
    assert len(skipped.by_kind()) == MAX_KINDS + 1
    assert skipped.total() == 3 * MAX_KINDS


@pytest.mark.parametrize("name", KINDS)
def test_surfaces_that_no_vocabulary_knows_are_counted(name: str, tmp_path: Path):
    rows = [GOOD | {"surface": surface} for surface in ("home", "attic", None, "attic", "cellar")]
    log = open_log(write_log(tmp_path / name, rows))
    assert len(whole(log)) == 5
    assert not log.skipped
    ignored = log.skipped.ignored[UNKNOWN_SURFACE]
    assert (ignored.count, ignored.example) == (3, "surface is 'attic'")


def test_infinite_values_are_counted_and_missing_ones_are_not(tmp_path: Path):
    values = [1.0, float("inf"), float("nan"), None, float("-inf")]
    columns = {name: [value] * 5 for name, value in GOOD.items()} | {"value": pa.array(values, pa.float64())}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    log = open_log(tmp_path / "log.parquet")
    assert np.isnan(whole(log).values).tolist() == [False, True, True, True]
    assert log.skipped.by_kind() == {"schema: value is wrong": 1}  # below zero
    assert log.skipped.ignored[INFINITE].count == 1
    assert log.skipped.ignored[INFINITE].where == f"{tmp_path / 'log.parquet'}, row 2"


def test_negative_play_times_and_repeated_impressions_are_counted(tmp_path: Path):
    plays = {"user_id": [1, 1, 1], "song_id": [5, 6, 7], "ts": [MORNING_MS // 1000] * 3, "playtime": [40.0, -1.0, None]}
    pq.write_table(pa.table(plays), tmp_path / "plays.parquet")
    log = open_log(tmp_path / "plays.parquet")
    assert sum(len(batch) for batch in log.batches(log.vocabulary)) == 3
    assert log.skipped.most_common_ignored() == [("value: a negative play time, read as none (playtime is -1)", 1)]


def test_records_of_a_topic_are_named_by_their_offset():
    skipped = Skipped()
    records = [
        Recorded("user-actions", 3, 17, MORNING_MS, b"u1", value) for value in (b"{", None, b'{"user_id": "u1"}')
    ]
    assert not len(arrivals_of(records, VOCABULARY, skipped))
    assert list(skipped.by_kind()) == ["not-json", "empty", "schema: no item_id"]
    assert skipped.rows["not-json"].where == "user-actions, partition 3, offset 17"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("max_skipped", "refused"), [(1.0, False), (0.5, True), (0.0, True)])
def test_a_log_is_refused_at_its_end_where_more_is_skipped_than_may_be(
    name: str, max_skipped: float, refused: bool, tmp_path: Path
):
    log = open_log(
        write_log(tmp_path / name, [GOOD, *[GOOD | {"user_id": ""}] * 3]), LogOptions(max_skipped=max_skipped)
    )
    batches = log.batches(Vocabulary(("save",)))
    assert len(next(batches)) == 1
    if refused:
        with pytest.raises(
            ValueError, match=r"3 of the 4 rows of .* can't be read; of 3 the reason is schema: no user_id"
        ):
            next(batches)
    else:
        assert list(batches) == []
