"""Public logs in their own columns: what a model is trained on is what is replayed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.arrivals import LogError, concatenated
from rankstream.events.open import LogOptions, open_log
from rankstream.events.public import kuairand, movielens
from rankstream.events.readers import columns as log_columns
from rankstream.events.registry import read_log
from rankstream.features.ids import id_keys

MORNING_MS = 1_650_000_000_000
RNG = np.random.default_rng(0)


def kuairand_columns(count: int = 400) -> dict[str, object]:
    """Impressions in order of time, some of them twice, once with other flags."""
    flags = {name: RNG.random(count) < 0.2 for name in kuairand.ACTION_COLUMNS.values()}
    ids = {"user_id": RNG.integers(0, 30, count), "video_id": RNG.integers(0, 50, count)}
    times = MORNING_MS + np.sort(RNG.integers(0, 10**7, count))
    columns = ids | {"time_ms": times, "tab": RNG.integers(0, 15, count), "play_time_ms": times % 9000} | flags
    again = np.sort(np.concatenate([np.arange(count), np.arange(0, count, 7)]))
    twice = {name: np.asarray(column)[again] for name, column in columns.items()}
    twice["is_like"] = np.arange(len(again)) % 5 == 0
    return {name: column.astype(np.int64) for name, column in twice.items()}


LOGS = {
    "impressions.parquet": kuairand_columns(),
    "events.parquet": {
        "user_id": [3, 3, 1, 2],
        "item_id": [5, 6, 5, 7],
        "behavior": ["pv", "buy", "fav", "cart"],
        "timestamp": [1_511_544_070.0, 1_511_544_060.0, float("nan"), 1_511_544_065.0],
    },
    "inter.parquet": {
        "user_id": [1, 2, 1],
        "item_id": [4, 5, 6],
        "rating": [5, 1, 3],
        "timestamp": [881_250_949, 881_250_948, 881_250_950],
    },
    "plays.parquet": {
        "user_id": [1, 2, 1],
        "song_id": [4, 5, 6],
        "ts": [1_400_000_002, 1_400_000_001, 1_400_000_003],
        "playtime": [200, -1, 29],
    },
}


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("batch", [7, 100_000])
def test_a_public_log_is_replayed_as_models_read_it(
    name: str, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever the batches: repeated impressions are known across their borders."""
    monkeypatch.setattr(log_columns, "BATCH_ROWS", batch)
    pq.write_table(pa.table(LOGS[name]), tmp_path / name)
    log, trained_on = open_log(tmp_path, LogOptions(sort=True)), read_log(open_log(tmp_path), strict=False)
    arrivals = concatenated(list(log.batches(log.vocabulary)))
    assert log.vocabulary == trained_on.vocabulary
    assert arrivals.user_ids == trained_on.user_ids.tolist()
    assert np.array_equal(arrivals.item_keys, id_keys(trained_on.item_ids.tolist()))
    assert np.array_equal(arrivals.codes, trained_on.actions)
    assert np.array_equal(arrivals.times_ms, trained_on.times_ms)


def test_kuairand_as_it_is_published_in_csv_reads_the_same(tmp_path: Path):
    columns = kuairand_columns()
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    table = np.stack(list(columns.values()), axis=1).astype(str)
    (tmp_path / "log.csv").write_text("\n".join(map(",".join, [list(columns), *table.tolist()])))
    one, other = (
        concatenated(list(open_log(tmp_path / f"log.{kind}").batches(kuairand.VOCABULARY)))
        for kind in ("csv", "parquet")
    )
    assert one.packed == other.packed


def test_recbole_headings_are_understood(tmp_path: Path):
    path = tmp_path / "ml-100k.inter"
    path.write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t9\t5\t881250949\n7\t8\t6\t881250949\n"
        + "".join(f"7\t{item}\t4\t881250949\n" for item in range(10, 20))
    )
    log = open_log(tmp_path)
    (arrivals,) = log.batches(log.vocabulary)
    assert (arrivals.user_keys[0], arrivals.item_ids[0], arrivals.codes.tolist()) == (b"7", "9", [3, *[2] * 10])
    assert log.skipped.by_kind() == {"schema: no action": 1}  # six stars


def test_a_bundles_vocabulary_decides_what_is_known(tmp_path: Path):
    pq.write_table(pa.table(LOGS["events.parquet"]), tmp_path / "events.parquet")
    (arrivals,) = open_log(tmp_path).batches(movielens.VOCABULARY)  # has view and save, no cart, no buy
    assert arrivals.codes.tolist() == [1]


@pytest.mark.parametrize(("column", "words"), [("tab", "KuaiRand's are 0 to 14"), ("time_ms", "holds no numbers")])
def test_a_public_log_with_nonsense_in_it_is_refused(column: str, words: str, tmp_path: Path):
    columns = kuairand_columns(9)
    wrong = columns | {column: np.full(len(columns["tab"]), 77) if column == "tab" else ["noon"] * len(columns["tab"])}
    pq.write_table(pa.table(wrong), tmp_path / "impressions.parquet")
    with pytest.raises(LogError, match=words):
        list(open_log(tmp_path).batches(kuairand.VOCABULARY))


def test_a_kuairand_folder_with_its_history_is_replayed_with_it(tmp_path: Path):
    pq.write_table(pa.table(kuairand_columns()), tmp_path / kuairand.IMPRESSIONS)
    history = {
        "user_id": [3, 4],
        "history_len": [3, 1],
        "last_time_ms": [kuairand.HISTORY_FROM_MS + 10**8, kuairand.HISTORY_FROM_MS + 10**8],
        "watch_seq": [[1, 2, 3], [5]],
        "like_seq": [[2], []],
        "long_watch_seq": [[3], []],
    }
    pq.write_table(pa.table(history), tmp_path / kuairand.HISTORY)
    log = open_log(tmp_path)
    trained_on = read_log(log)
    arrivals = concatenated(list(log.batches(log.vocabulary)))
    assert arrivals.codes.tolist() == trained_on.actions.tolist()
    assert arrivals.user_ids == trained_on.user_ids.tolist()
    assert len(arrivals) == len(read_log(open_log(tmp_path, LogOptions(history=False)))) + 5
    with_history = log.checksum()
    (tmp_path / kuairand.HISTORY).write_bytes((tmp_path / kuairand.HISTORY).read_bytes() + b"changed")
    assert log.checksum() != with_history  # of both files
