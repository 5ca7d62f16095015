"""One log in many files: folders, patterns, partitions, packed files; what is not read is named."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.arrivals import LogError
from rankstream.events.files import files_at
from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import read_log
from tests.builders.actions import MORNING_MS

HEADING = "user_id,item_id,action,timestamp_ms\n"


def text(*items: object, user: object = "u1") -> str:
    return HEADING + "".join(f"{user},{item},view,{MORNING_MS + at}\n" for at, item in enumerate(items))


def lines(*items: object, user: object = "u1") -> bytes:
    rows = [
        {"user_id": user, "item_id": item, "action": "view", "timestamp_ms": MORNING_MS + at}
        for at, item in enumerate(items)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(path: Path, *items: object, **columns: list[object]) -> None:
    times = [MORNING_MS + at for at in range(len(items))]
    whole = {"user_id": ["u1"] * len(items), "item_id": list(items), "action": ["view"] * len(items)} | columns
    pq.write_table(pa.table(whole | {"timestamp_ms": times}), path)


def zstd(data: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(data)
    whole: bytes = packed.getvalue().to_pybytes()
    return whole


def items_of(path: Path, options: LogOptions = LogOptions()) -> list[str]:  # noqa: B008  # frozen
    log = open_log(path, options)
    return [str(item) for batch in log.batches(log.vocabulary) for item in batch.item_ids]


def test_files_of_every_kind_in_one_folder_are_one_log(tmp_path):
    (tmp_path / "1.csv").write_text(text(1))
    (tmp_path / "2.TSV").write_text(text(2).replace(",", "\t"))
    parquet(tmp_path / "3.pq", 3)
    parquet(tmp_path / "4.snappy.PARQUET", 4)
    (tmp_path / "5.jsonl").write_bytes(lines(5))
    (tmp_path / "6.ndjson.gz").write_bytes(gzip.compress(lines(6)))
    (tmp_path / "7.csv.gz").write_bytes(gzip.compress(text(7).encode()))
    (tmp_path / "8.json.zst").write_bytes(zstd(lines(8)))
    (tmp_path / "9.CSV.ZST").write_bytes(zstd(text(9).encode()))
    for name, more in (("a.txt", 10), ("b.dat", 11), ("c.data", 12), ("d.inter", 13)):
        (tmp_path / name).write_text(text(more).replace(",", "|"))
    assert items_of(tmp_path) == [str(item) for item in range(1, 14)]
    assert open_log(tmp_path).notes == ()


def test_rotated_and_packed_days_are_all_read(tmp_path):
    """As log rotation leaves them: the day that is written to is not packed."""
    for day in range(14, 20):
        data = lines(*range(day * 100, day * 100 + 40 + day))
        name = f"2023-11-{day}.jsonl"
        (tmp_path / (name if day == 16 else f"{name}.gz")).write_bytes(data if day == 16 else gzip.compress(data))
    assert len(read_log(open_log(tmp_path))) == sum(40 + day for day in range(14, 20))


def test_several_packed_parts_in_one_file_are_all_read(tmp_path):
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(lines(1)) + gzip.compress(lines(2)))
    (tmp_path / "log.csv.gz").write_bytes(
        gzip.compress(text(3).encode()) + gzip.compress(f"u1,4,view,{MORNING_MS}\n".encode())
    )
    (tmp_path / "log.jsonl.zst").write_bytes(zstd(lines(5)) + zstd(lines(6)))
    assert [items_of(tmp_path / name) for name in ("log.jsonl.gz", "log.csv.gz", "log.jsonl.zst")] == [
        ["1", "2"],
        ["3", "4"],
        ["5", "6"],
    ]


def test_subfolders_are_read_in_order_and_marks_of_other_programs_passed_over(tmp_path):
    for name, item in (("dt=2023-11-15/b.csv", 2), ("dt=2023-11-14/a.csv", 1), ("dt=2023-11-15/deep/er/c.csv", 3)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text(item))
    for name in (
        "_SUCCESS",
        ".a.csv.crc",
        ".DS_Store",
        "a.csv.crc",
        "_temporary/0/part.csv",
        ".ipynb_checkpoints/d.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text(9))
    assert items_of(tmp_path) == ["1", "2", "3"]
    assert open_log(tmp_path).notes == ()


def test_what_is_no_log_is_named(tmp_path):
    (tmp_path / "day.csv").write_text(text(1))
    (tmp_path / "users.csv").write_text("user_id,age\nu1,30\n")
    (tmp_path / "README.txt").write_text("What is here\n\nLogs, of a shop.\n")
    (tmp_path / "settings.json").write_text('{"a": 1}\n')
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "half.csv.part").write_text(text(2))
    log = open_log(tmp_path)
    (note,) = log.notes
    assert [file.path.name for file in log.files] == ["day.csv"]
    assert note.startswith(f"{tmp_path}: read day.csv; not read, as they are no log of this kind: ")
    for name in ("users.csv", "README.txt", "settings.json", "empty.jsonl", "half.csv.part"):
        assert name in note


def test_a_log_among_the_files_that_is_broken_is_named_and_refused(tmp_path):
    (tmp_path / "day-1.csv").write_text(text(1))
    parquet(tmp_path / "day-2.parquet", 2)
    (tmp_path / "day-2.parquet").write_bytes((tmp_path / "day-2.parquet").read_bytes()[:-9])
    with pytest.raises(LogError, match=r"day-2.parquet can't be read as Parquet"):
        open_log(tmp_path)
    (tmp_path / "day-2.parquet").unlink()
    (tmp_path / "day-3.csv.gz").write_bytes(gzip.compress(text(*range(9)).encode())[:-20])
    with pytest.raises(LogError, match=r"day-3.csv.gz can't be read"):
        items_of(tmp_path)


@pytest.mark.parametrize("name", ["log.csv.gz", "log.jsonl.gz", "log.csv.zst", "log.jsonl.zst"])
def test_a_packed_file_that_ends_too_early_is_named(name, tmp_path):
    data = (lines if "json" in name else lambda *items: text(*items).encode())(*range(100_000))
    packed = (gzip.compress if name.endswith("gz") else zstd)(data)
    (tmp_path / name).write_bytes(packed[: len(packed) // 2])
    with pytest.raises(LogError, match=rf"{name} can't be read.*whole file"):
        items_of(tmp_path / name)


def test_a_pattern_chooses_files(tmp_path):
    for day in range(3):
        (tmp_path / f"day-{day}.csv").write_text(text(day))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "day-7.csv").write_text(text(7))
    assert items_of(tmp_path / "day-[02].csv") == ["0", "2"]
    assert items_of(tmp_path / "**" / "day-*.csv") == ["0", "1", "2", "7"]
    with pytest.raises(LogError, match="no file matches"):
        items_of(tmp_path / "*.parquet")


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    (tmp_path / "log[1].csv").write_text(text(1))
    (tmp_path / "log1.csv").write_text(text(2))
    assert items_of(tmp_path / "log[1].csv") == ["1"]


def test_partitions_that_name_a_field_hold_it(tmp_path):
    for folder, item in (("action=buy/surface=home%20page", 1), ("action=view/surface=tv", 2)):
        (tmp_path / folder).mkdir(parents=True)
        table = pa.table({"user_id": ["u1"], "item_id": [item], "timestamp_ms": [MORNING_MS + item]})
        pq.write_table(table, tmp_path / folder / "part-0.parquet")
    log = read_log(open_log(tmp_path))
    names = [
        (log.vocabulary.actions[a - 1], log.vocabulary.surfaces[s - 1])
        for a, s in zip(log.actions, log.surfaces, strict=True)
    ]
    assert names == [("buy", "home page"), ("view", "tv")]


def test_a_partition_is_mapped_as_a_column_and_a_files_own_column_counts_more(tmp_path):
    for folder in ("shop=a", "shop=b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "log.csv").write_text(text(1))
    log = read_log(open_log(tmp_path, LogOptions({"surface": "shop"})))
    assert log.vocabulary.surfaces == ("a", "b")
    (tmp_path / "user_id=u9").mkdir()
    (tmp_path / "user_id=u9" / "log.csv").write_text(text(1))
    assert set(read_log(open_log(tmp_path)).user_ids) == {"u1"}


def test_a_partition_without_a_value_is_none(tmp_path):
    folder = tmp_path / "surface=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir()
    (folder / "log.csv").write_text(text(1))
    assert files_at(tmp_path).files[0].partitions == {"surface": ""}
    assert read_log(open_log(tmp_path)).surfaces is None


def test_files_may_call_their_columns_differently(tmp_path):
    (tmp_path / "1.csv").write_text(text(1))
    (tmp_path / "2.csv").write_text(text(2).replace("user_id,item_id", "customer,sku"))
    log = open_log(tmp_path)
    assert items_of(tmp_path) == ["1", "2"]
    assert log.notes == (
        f"1 of 2 files of {tmp_path}: by the names of its columns, user_id is customer, item_id is sku; "
        "--map says otherwise",
    )


def test_a_folder_without_a_log_names_the_file_that_is_nearest_to_one(tmp_path):
    (tmp_path / "a.csv").write_text("name,age\nann,30\n")
    (tmp_path / "b.csv").write_text(text(1).replace("action", "colour"))
    with pytest.raises(
        LogError, match=r"holds no log that is known .* only a.csv, b.csv; .*b.csv has no column action"
    ):
        open_log(tmp_path)
