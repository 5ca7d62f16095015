import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.log import LogRefusedError
from rankstream.events.public.kuairand import (
    HISTORY,
    HISTORY_FROM_MS,
    read_kuairand,
    read_kuairand_history,
    read_kuairand_whole,
)
from rankstream.events.public.movielens import read_movielens, read_sequences
from rankstream.events.public.music30 import read_music30
from rankstream.events.public.taobao import read_taobao
from rankstream.events.readers.whole_files import read_events

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def names(log):
    return [log.vocabulary.actions[code - 1] for code in log.actions]


def test_stars_become_actions_and_seconds_milliseconds(tmp_path):
    path = tmp_path / "ml-100k.inter"
    path.write_text(INTER + "1\t10\t5\t100\n1\t11\t4\t101\n2\t12\t3\t102\n2\t13\t2\t103\n2\t14\t1\t104\n")
    log = read_movielens(path)
    assert names(log) == ["save", "click", "view", "hide", "hide"]
    assert log.times_ms.tolist() == [100_000, 101_000, 102_000, 103_000, 104_000]
    assert log.user_ids.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("user_id:token\trating:float\n1\t5\n", "has no column item_id, timestamp; it has user_id, rating"),
        (INTER + "1\t10\t5\n", "line 2: 3 fields, but the heading has 4"),
        (INTER + "1\t10\tgood\t100\n", "ratings and timestamps must be numbers"),
        (INTER + "1\t10\t4.5\t100\n", "a rating of 4.5 in row 0; wanted whole stars, 1 to 5"),
    ],
)
def test_broken_ratings_are_refused_in_one_sentence(tmp_path, text, told):
    path = tmp_path / "ml-100k.inter"
    path.write_text(text)
    with pytest.raises(LogRefusedError, match=told):
        read_movielens(path)


def kuairand_file(tmp_path, **changes):
    columns = {name: [0, 0, 0] for name in (
        "is_click", "long_view", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter",
    )}  # fmt: skip
    columns |= {"user_id": [1, 1, 1], "video_id": [5, 5, 6], "time_ms": [1000, 1000, 2000]}
    columns |= {"play_time_ms": [500, 500, 4000], "tab": [1, 1, 2]}
    pq.write_table(pa.table(columns | changes), tmp_path / "impressions.parquet")
    return tmp_path


def test_an_impression_gives_each_of_its_actions_and_repetitions_none(tmp_path):
    log = read_kuairand(kuairand_file(tmp_path, is_click=[0, 0, 1], is_like=[0, 0, 1]))
    assert list(zip(log.item_ids, names(log), log.values, strict=True)) == [
        (5, "skip", 0.5),
        (6, "click", 4.0),
        (6, "like", 4.0),
    ]
    assert [log.vocabulary.surfaces[code - 1] for code in log.surfaces] == ["tab1", "tab2", "tab2"]


def test_an_impression_that_was_not_played_is_a_view_and_no_skip(tmp_path):
    log = read_kuairand(kuairand_file(tmp_path, play_time_ms=[0, 0, 2000]))
    assert names(log) == ["view", "view"]


def test_history_without_times_is_spread_evenly_before_its_last_moment(tmp_path):
    last_ms = HISTORY_FROM_MS + 4_000_000
    columns = {"user_id": [7], "history_len": [4], "last_time_ms": [last_ms], "watch_seq": [[1, 2, 3]]}
    pq.write_table(pa.table(columns | {"like_seq": [[2]], "long_watch_seq": [[3]]}), tmp_path / HISTORY)
    log = read_kuairand_history(tmp_path)
    assert list(zip(log.item_ids, names(log), log.times_ms - last_ms, strict=True)) == [
        (1, "exposed", -2_000_000),
        (2, "like", -1_000_000),
        (3, "click", 0),
        (3, "long_view", 0),
    ]
    kuairand_file(tmp_path, time_ms=[last_ms + 1, last_ms + 1, last_ms + 2])
    whole = read_kuairand_whole(tmp_path)
    assert names(whole) == [*names(log), "skip", "view"]


def test_an_unknown_tab_is_refused(tmp_path):
    with pytest.raises(LogRefusedError, match="tabs from 1 to 99"):
        read_kuairand(kuairand_file(tmp_path, tab=[1, 1, 99]))


def test_taobao_leaves_out_half_a_row_and_refuses_strange_behaviour(tmp_path):
    columns = {"user_id": [1, 1], "item_id": [5, 6], "timestamp": [100.0, None]}
    pq.write_table(pa.table(columns | {"behavior": ["buy", "pv"]}), tmp_path / "events.parquet")
    assert names(read_taobao(tmp_path)) == ["buy"]
    pq.write_table(pa.table(columns | {"behavior": ["steal", "pv"]}), tmp_path / "events.parquet")
    with pytest.raises(LogRefusedError, match="unknown behaviour 'steal'; wanted pv, fav, cart, buy"):
        read_taobao(tmp_path)


def test_a_short_play_is_a_play_and_a_long_one_a_listen(tmp_path):
    columns = {"user_id": [1, 1, 1], "song_id": [5, 6, 7], "ts": [1, 2, 3], "playtime": [10, 200, -1]}
    pq.write_table(pa.table(columns), tmp_path / "plays.parquet")
    log = read_music30(tmp_path)
    assert names(log) == ["play", "listen", "play"]
    assert np.isnan(log.values[2])


def test_csv_with_the_wires_columns_is_read(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,action,timestamp_ms,value\nann,7,save,2000,\nbob,8,view,1000,2.5\n")
    log = read_events(path)
    assert log.user_ids.tolist() == ["bob", "ann"]
    assert log.item_ids.tolist() == [8, 7]
    assert names(log) == ["view", "save"]
    assert log.values[0] == 2.5


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("log.txt", "", "unknown ending '.txt'; wanted one of .jsonl"),
        ("log.csv", "user_id,item_id\n1,2\n", "has no column action, timestamp_ms"),
        ("log.csv", "user_id,item_id,action,timestamp_ms\n1,2,save\n", "line 2: its number of fields"),
        ("log.csv", "user_id,item_id,action,timestamp_ms\n1,2,save,soon\n", "timestamp_ms must be numbers"),
        ("log.jsonl", "{broken\n", "line 1 is not JSON"),
        ("log.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("log.parquet", "text", "is not a Parquet file"),
    ],
)
def test_logs_that_cannot_be_read_say_why(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(LogRefusedError, match=told):
        read_events(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    for read in (read_events, read_movielens, read_taobao):
        with pytest.raises(LogRefusedError, match="there is no file"):
            read(tmp_path / "nothing.parquet")


def test_sequences_stand_in_the_order_of_their_positions(tmp_path):
    columns = {"sas_user": [2, 1, 1, 2, 1], "sas_item": [7, 3, 1, 8, 2], "position": [1, 2, 0, 0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "sequences.parquet")
    assert [items.tolist() for items in read_sequences(tmp_path)] == [[0, 1, 2], [7, 6]]
    pq.write_table(pa.table({"sas_user": [1]}), tmp_path / "sequences.parquet")
    with pytest.raises(LogRefusedError, match="no column sas_item, position"):
        read_sequences(tmp_path)
