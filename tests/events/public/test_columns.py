"""What public logs mean as columns, row by row; that replay reads the same is in ``test_batches.py``."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.arrivals import LogError
from rankstream.events.open import open_log
from rankstream.events.public.kuairand import HISTORY, HISTORY_FROM_MS
from rankstream.events.public.movielens import read_sequences
from rankstream.events.registry import read_log
from tests.builders.logs import read

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
AT_S = 1_400_000_000
AT_MS = AT_S * 1000


def names(log):
    return [log.vocabulary.actions[code - 1] for code in log.actions]


def test_stars_become_actions_and_seconds_milliseconds(tmp_path):
    path = tmp_path / "ml-100k.inter"
    rows = [(1, 10, 5), (1, 11, 4), (2, 12, 3), (2, 13, 2), (2, 14, 1)]
    lines = [f"{user}\t{item}\t{stars}\t{AT_S + n}\n" for n, (user, item, stars) in enumerate(rows)]
    path.write_text(INTER + "".join(lines))
    log = read(path)
    assert names(log) == ["save", "click", "view", "hide", "hide"]
    assert (log.times_ms - AT_MS).tolist() == [0, 1000, 2000, 3000, 4000]
    assert log.user_ids.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user_id:token\trating:float\n1\t5\n", "has no column item_id, timestamp; it has user_id, rating"),
        (INTER + "1\t10\tgood\t100\n", "column rating holds no numbers"),
    ],
)
def test_files_that_are_no_ratings_are_refused_in_one_sentence(tmp_path, text, words):
    path = tmp_path / "ml-100k.inter"
    path.write_text(text)
    with pytest.raises(LogError, match=words):
        read(path, kind="movielens")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1\t10\t5\n", "the row has more or fewer fields than the heading"),
        (f"1\t10\t4.7\t{AT_S}\n", "schema: no action"),
    ],
)
def test_broken_ratings_are_skipped_and_counted_or_refused(tmp_path, row, words):
    path = tmp_path / "ml-100k.inter"
    path.write_text(INTER + f"1\t11\t5\t{AT_S}\n" + row)
    opened = open_log(path)
    assert names(read_log(opened, strict=False)) == ["save"]
    ((reason, count),) = opened.skipped.most_common()
    assert words in reason
    assert count == 1
    with pytest.raises(LogError, match=f"1 of the 2 rows of .* can't be read.*{words}"):
        read_log(opened, strict=True)


def kuairand_file(tmp_path, **changes):
    columns = {name: [0, 0, 0] for name in (
        "is_click", "long_view", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter",
    )}  # fmt: skip
    columns |= {"user_id": [1, 1, 1], "video_id": [5, 5, 6], "time_ms": [AT_MS, AT_MS, AT_MS + 1000]}
    columns |= {"play_time_ms": [500, 500, 4000], "tab": [1, 1, 2]}
    pq.write_table(pa.table(columns | changes), tmp_path / "impressions.parquet")
    return tmp_path


def test_an_impression_returns_each_of_its_actions_and_repetitions_none(tmp_path):
    opened = open_log(kuairand_file(tmp_path, is_click=[0, 0, 1], is_like=[0, 0, 1]))
    log = read_log(opened)
    assert list(zip(log.item_ids, names(log), log.values, strict=True)) == [
        (5, "skip", 0.5),
        (6, "click", 4.0),
        (6, "like", 4.0),
    ]
    assert [log.vocabulary.surfaces[code - 1] for code in log.surfaces] == ["tab1", "tab2", "tab2"]
    ((repeated, count),) = opened.skipped.most_common_ignored()
    assert repeated.startswith("repeated: an impression that came before (user 1 saw video 5 at")
    assert count == 1


def test_an_impression_that_was_not_played_is_a_view_and_no_skip(tmp_path):
    log = read(kuairand_file(tmp_path, play_time_ms=[0, 0, 2000]))
    assert names(log) == ["view", "view"]


def test_history_without_times_is_spread_evenly_before_its_last_time(tmp_path):
    last_ms = HISTORY_FROM_MS + 4_000_000
    columns = {"user_id": [7], "history_len": [4], "last_time_ms": [last_ms], "watch_seq": [[1, 2, 3]]}
    pq.write_table(pa.table(columns | {"like_seq": [[2]], "long_watch_seq": [[3]]}), tmp_path / HISTORY)
    whole = read(kuairand_file(tmp_path, time_ms=[last_ms + 1, last_ms + 1, last_ms + 2]))
    assert list(zip(whole.item_ids, names(whole), whole.times_ms - last_ms, strict=True)) == [
        (1, "exposed", -2_000_000),
        (2, "like", -1_000_000),
        (3, "click", 0),
        (3, "long_view", 0),
        (5, "skip", 1),
        (6, "view", 2),
    ]
    assert names(read(tmp_path, history=False)) == ["skip", "view"]


def test_an_unknown_tab_is_refused(tmp_path):
    with pytest.raises(LogError, match="tabs from 1 to 99"):
        read(kuairand_file(tmp_path, tab=[1, 1, 99]))


def test_taobao_counts_half_a_row_and_strange_behaviour(tmp_path):
    columns = {"user_id": [1, 1, 1], "item_id": [5, 6, 7], "timestamp": [AT_S, None, AT_S]}
    pq.write_table(pa.table(columns | {"behavior": ["buy", "pv", "steal"]}), tmp_path / "events.parquet")
    opened = open_log(tmp_path)
    assert names(read_log(opened, strict=False)) == ["buy"]
    assert opened.skipped.by_kind() == {"schema: no timestamp_ms": 1, "unknown-action": 1}
    steal = "row 3: action 'steal' is not in the vocabulary (view, save, cart, buy)"
    assert steal in opened.skipped.most_common()[1][0]


def test_a_short_play_is_a_play_and_a_long_one_a_listen(tmp_path):
    columns = {"user_id": [1, 1, 1], "song_id": [5, 6, 7], "ts": [AT_S, AT_S + 1, AT_S + 2], "playtime": [10, 200, -1]}
    pq.write_table(pa.table(columns), tmp_path / "plays.parquet")
    log = read(tmp_path)
    assert names(log) == ["play", "listen", "play"]
    assert np.isnan(log.values[2])


def test_csv_with_the_wires_columns_is_read(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id,action,timestamp_ms,value\nann,7,save,{AT_MS + 1000},\nbob,8,view,{AT_MS},2.5\n")
    log = read(path)
    assert log.user_ids.tolist() == ["bob", "ann"]
    assert log.item_ids.tolist() == [8, 7]
    assert names(log) == ["view", "save"]
    assert log.values[0] == 2.5


def test_numbers_that_are_not_written_as_numbers_stay_texts(tmp_path):
    """The wire keeps 007 and 7 apart, and so do the tables that training fills."""
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id,action,timestamp_ms\n007,1,save,{AT_MS}\n7,2,save,{AT_MS}\n")
    assert read(path).user_ids.tolist() == ["007", "7"]
    assert read(path).item_ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("log.doc", "", "ends with .doc; .parquet, .csv, .tsv, .txt and .jsonl can be read"),
        ("log.csv", "user_id,item_id\n1,2\n", "has no column action"),
        (
            "log.csv",
            "user_id,item_id,action,timestamp_ms\n1,2,save\n",
            "has 4 names, and its rows have 3 fields, as 1, 2, save; name those with --columns",
        ),
        ("log.csv", "user_id,item_id,action,timestamp_ms\n1,2,save,soon\n", "timestamp_ms is 'soon'"),
        ("log.jsonl", "{broken\n", "not JSON"),
        ("log.jsonl", "[1]\n", "not a JSON object"),
        ("log.parquet", "text", "can't be read as Parquet"),
    ],
)
def test_logs_that_cannot_be_read_are_refused_with_the_reason(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(LogError, match=words):
        read(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    for kind in (None, "events", "movielens", "taobao"):
        with pytest.raises(LogError, match="there is no file"):
            read(tmp_path / "nothing.parquet", kind=kind)


def test_sequences_stand_in_the_order_of_their_positions(tmp_path):
    columns = {"sas_user": [2, 1, 1, 2, 1], "sas_item": [7, 3, 1, 8, 2], "position": [1, 2, 0, 0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "sequences.parquet")
    assert [items.tolist() for items in read_sequences(tmp_path)] == [[0, 1, 2], [7, 6]]
    pq.write_table(pa.table({"sas_user": [1]}), tmp_path / "sequences.parquet")
    with pytest.raises(LogError, match="no column sas_item, position"):
        read_sequences(tmp_path)


def test_ratings_may_have_a_comma_for_their_decimals(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId;movieId;rating;timestamp\n1;2;3,5;1112486027\n1;29;5,0;1112484676\n")
    log = open_log(tmp_path / "ratings.csv")
    assert log.kind == "movielens"
    found = read_log(log)
    names = [log.vocabulary.actions[code - 1] for code in found.actions]
    assert dict(zip(found.item_ids.tolist(), names, strict=True)) == {2: "view", 29: "save"}
