"""Logs that can't be read are refused in one sentence that names a remedy."""

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.arrivals import LogError
from rankstream.events.open import LogOptions, open_log
from tests.builders.actions import MORNING_MS, VOCABULARY
from tests.builders.logs import whole, write_log

GOOD = {"user_id": "u1", "item_id": 7, "action": "save", "timestamp_ms": MORNING_MS}
KINDS = ("log.parquet", "log.csv", "log.jsonl")


def refusal(path: Path, **how: object) -> str:
    with pytest.raises(LogError) as refused:
        whole(open_log(path, LogOptions(**how)))  # type: ignore[arg-type]
    return str(refused.value)


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_log(name: str, tmp_path: Path):
    assert "holds no rows" in refusal(write_log(tmp_path / name, []))


def test_a_file_of_no_bytes(tmp_path: Path):
    for name, words in (
        ("a.csv", "is empty"),
        ("a.jsonl", "holds no rows"),
        ("a.parquet", "as Parquet"),
    ):
        (tmp_path / name).touch()
        assert words in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_a_missing_column_is_named_with_those_that_are_there(name: str, tmp_path: Path):
    words = refusal(write_log(tmp_path / name, [{"user_id": 1, "thing": 2, "action": "save", "ts": MORNING_MS}]))
    assert "has no column item_id; it has user_id, thing, action, ts; name another one with --map item_id=C" in words


def test_all_columns_that_are_missing_are_named_at_once(tmp_path: Path):
    words = refusal(write_log(tmp_path / "log.csv", [{"user_id": 1, "thing": 2, "seen": 5}]))
    assert (
        "has no column item_id, action, timestamp_ms; it has user_id, thing, seen; name others with --map item" in words
    )
    assert "--map timestamp_ms=COLUMN, and name the actions' with --map action=COLUMN, or, if all rows" in words


def test_a_log_without_times_is_told_that_it_needs_some(tmp_path: Path):
    words = refusal(write_log(tmp_path / "log.csv", [{"user_id": 1, "item_id": 2, "action": "save", "stars": 5}]))
    assert words.endswith("; a log without times does not say what came next, so nothing can be learned of one")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            '{"session":7,"events":[{"aid":5}]}',
            "events holds rows of its own, so write each as one: jq -c '. as $row |",
        ),
        (
            '{"type":"view","actor":{"id":7}}',
            "actor.id lies deeper: if it is meant, say --map user_id=actor.id",
        ),
        ('{"ts":1,"data":{"user_id":1,"sku":2}}', "deeper: --map user_id=data.user_id --map item_id=data.sku"),
        ('{"ts":1,"payload":"{\\"user_id\\":7}"}', "bring that on top: jq -c '.payload | fromjson'"),
        ('{"ts":1,"user_id":{"$oid":"5f"},"item_id":3}', "name what is meant of it: --map 'user_id=user_id.$oid'"),
    ],
)
def test_lines_whose_fields_lie_deeper_are_told_how_to_bring_them_on_top(line: str, words: str, tmp_path: Path):
    (tmp_path / "log.jsonl").write_text(f"{line}\n" * 3)
    assert words in refusal(tmp_path / "log.jsonl", constants={"action": "view"}, columns={"timestamp_ms": "ts"})


@pytest.mark.parametrize(("names", "words"), [
    (["at"], "--map timestamp_ms=at"),
    (["at", "stored"], "--map timestamp_ms=COLUMN; at and stored hold times"),
])  # fmt: skip
def test_columns_that_hold_times_by_their_values_are_named(names: list[str], words: str, tmp_path: Path):
    row = {"user_id": 1, "item_id": 20231114, "action": "buy", **dict.fromkeys(names, "2023-11-14 22:13")}
    assert refusal(write_log(tmp_path / "log.csv", [row])).endswith(words)


def test_a_public_log_that_a_file_is_not_is_named_with_few_of_its_columns(tmp_path: Path):
    row = {f"{'long' * 50}{at}": 1 for at in range(60)}
    words = refusal(write_log(tmp_path / "log.csv", [row]), kind="movielens")
    assert words.endswith("... and 40 more")
    assert len(words) < 2_000


def test_a_mapped_column_that_is_not_there(tmp_path: Path):
    path = write_log(tmp_path / "log.csv", [GOOD])
    assert "has no column dwell" in refusal(path, columns={"value": "dwell"})
    assert "rating is no field of an action" in refusal(path, columns={"rating": "x"})
    assert "time unit 'h' is not known; it is one of auto, s, ms" in refusal(path, time_unit="h")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("scale", "unit", "as_ms"), [(1e-3, "s", "1970-01-20"), (1000, "us", "the year 55,")])
def test_a_log_in_another_unit_than_its_column_claims_names_both_readings(
    name: str, scale: float, unit: str, as_ms: str, tmp_path: Path
):
    rows = [GOOD | {"timestamp_ms": int((MORNING_MS + n) * scale)} for n in range(3)]
    words = refusal(write_log(tmp_path / name, rows))
    assert f"as ms, which its name claims, that is {as_ms}" in words
    assert f", as {unit} 2023-11-14; say which with --time-unit {unit} or --time-unit ms" in words


@pytest.mark.parametrize("name", KINDS)
def test_times_that_count_from_the_logs_own_beginning_are_refused_with_what_makes_times_of_them(name, tmp_path: Path):
    rows = [{name: value for name, value in GOOD.items() if name != "timestamp_ms"} | {"ts": at} for at in (0, 36, 77)]
    words = refusal(write_log(tmp_path / name, rows))
    assert words.endswith("; if ts counts from when the log began, add that time to each")


@pytest.mark.parametrize("name", KINDS)
def test_mixed_units_skip_the_rows_of_the_other_one_and_name_it(name: str, tmp_path: Path):
    late_ms = MORNING_MS * 2
    rows = [GOOD, GOOD | {"timestamp_ms": MORNING_MS // 1000}, GOOD | {"timestamp_ms": late_ms}]
    log = open_log(write_log(tmp_path / name, rows))
    assert len(whole(log)) == 1
    assert log.skipped.by_kind() == {"timestamp: before 1973": 1, "timestamp: more than a day after now": 1}
    late = log.skipped.rows["timestamp: more than a day after now"]
    assert re.fullmatch(f"timestamp_ms is '?{late_ms}'?, read as 2077-09-27", late.example)
    assert late.where == f"{tmp_path / name}, {'line' if 'json' in name else 'row'} 3"


def test_unknown_actions_are_named_beside_the_known_ones(tmp_path: Path):
    words = refusal(write_log(tmp_path / "log.csv", [GOOD | {"action": "dance"}]))
    assert "action 'dance' is not in the vocabulary (view, click, save, hide)" in words


@pytest.mark.parametrize("text", ["user_id,item_id,action,timestamp_ms\n1,2,save\n", "\0\0", "\xff,\xfe\n"])
def test_damaged_text(text: str, tmp_path: Path):
    (tmp_path / "log.csv").write_bytes(text.encode("latin-1"))
    assert str(tmp_path / "log.csv") in refusal(tmp_path / "log.csv")


def test_ragged_lines_are_skipped_and_counted(tmp_path: Path):
    path = write_log(tmp_path / "log.csv", [GOOD, GOOD])
    path.write_text(path.read_text() + "1,2\n" + "1,2,save,4,5,6\n")
    log = open_log(path)
    assert len(whole(log)) == 2
    assert log.skipped.by_kind() == {"schema: ragged row": 2}
    assert log.skipped.rows["schema: ragged row"].example == "the row has more or fewer fields than the heading: '1,2'"
    assert log.skipped.rows["schema: ragged row"].where == f"{path}, row 3"


def test_parquet_cut_off_in_the_middle(tmp_path: Path):
    path = write_log(tmp_path / "log.parquet", [GOOD] * 9)
    path.write_bytes(path.read_bytes()[:-20])
    assert "can't be read as Parquet" in refusal(path)


def test_packed_lines_cut_off_in_the_middle(tmp_path: Path):
    (tmp_path / "log.jsonl.gz").write_bytes(b"\x1f\x8b\x08\0\0\0")
    assert "can't be read" in refusal(tmp_path / "log.jsonl.gz")


def test_a_first_row_of_prose_is_not_said_back_as_a_whole(tmp_path: Path):
    """A table of articles without a heading: its first row is taken for one, and was the refusal."""
    (tmp_path / "news.tsv").write_text(f"N1\tsports\t{'and so on ' * 300}\n")
    why = refusal(tmp_path / "news.tsv")
    assert f"it has N1, sports, {('and so on ' * 300)[:60]}...;" in why
    assert len(why) < 500


def test_no_file_and_no_kind_of_file(tmp_path: Path):
    (tmp_path / "log.xlsx").touch()
    assert "ends with .xlsx; .parquet, .csv, .tsv, .txt and .jsonl can be read" in refusal(tmp_path / "log.xlsx")
    assert "there is no file" in refusal(tmp_path / "log.csv")
    assert "holds no log that is known (30music, amazon, kuairand, lastfm, mind, movielens" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("log.csv.zip", "unzip log.csv.zip"),
        ("log.csv.xz", "xz -dk log.csv.xz"),
        ("log.tar.gz", "tar xf log.tar.gz"),
        ("log.sql", "TO log.csv CSV HEADER"),
    ],
)
def test_what_is_packed_otherwise_is_refused_with_the_command_that_unpacks_it(name: str, remedy: str, tmp_path: Path):
    (tmp_path / name).touch()
    assert refusal(tmp_path / name).rpartition("; ")[2].endswith(remedy + ("'" if "CSV" in remedy else ""))


def test_users_that_most_rows_lack_are_refused_with_the_column_that_may_have_them(tmp_path: Path):
    lines = ["session_id;user_id;item_id;action;date", *(f"{n};NA;{n};view;2016-05-09" for n in range(9))]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    assert "user_id is 'NA'); session_id may say it instead: --map user_id=session_id" in refusal(tmp_path / "log.csv")


def test_rows_that_hold_a_list_of_items_are_refused_with_the_command_that_makes_a_row_of_each(tmp_path: Path):
    row = {
        "user_id": "u",
        "action": "view",
        "timestamp_ms": MORNING_MS,
        "params": [{"key": "x"}],
        "items": [{"item_id": "a"}, {"item_id": "b"}],
    }
    (tmp_path / "ga4.jsonl").write_text(json.dumps(row) + "\n")
    words = refusal(tmp_path / "ga4.jsonl")
    assert words.endswith("as with jq -c '. as $row | .items[] | ($row | del(.items)) + .' ga4.jsonl > ga4-rows.jsonl")


def test_a_log_of_garbage_does_not_fill_memory_with_reasons(tmp_path: Path):
    rows = [GOOD | {"action": f"a{n}"} for n in range(300)]
    log = open_log(write_log(tmp_path / "log.jsonl", [GOOD, *rows]))
    whole(log)
    assert log.skipped.by_kind() == {"unknown-action": len(rows)}
    ((sentence, count),) = log.skipped.most_common()
    assert "line 2: action 'a0' is not in the vocabulary" in sentence
    assert count == len(rows)


def test_too_many_names_for_a_vocabulary(tmp_path: Path):
    log = open_log(write_log(tmp_path / "log.jsonl", [GOOD | {"action": f"a{n}"} for n in range(70)]))
    with pytest.raises(LogError, match=r"70 action types given .* is --map action=COLUMN the right column"):
        _ = log.vocabulary


def test_a_column_of_structures_is_no_column_of_ids(tmp_path: Path):
    columns = {name: [value] for name, value in GOOD.items()} | {"user_id": [[1, 2]]}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    assert "user_id is [1, 2]: Expected `int | str`, got `array`" in refusal(tmp_path / "log.parquet")


def test_rows_are_named_by_their_number_also_after_ragged_ones(tmp_path: Path):
    """Two batches of CSV, whose ragged rows are in neither."""
    good, ragged, wrong = "u,i,save,1700000000000", "u,i", "u,i,save,noon"
    for before in (0, 7, 300_000):
        path = tmp_path / "log.csv"
        lines = ["user_id,item_id,action,timestamp_ms", *[good] * before, ragged, good, ragged, wrong]
        path.write_text("\n".join(lines) + "\n")
        log = open_log(path)
        assert sum(len(batch) for batch in log.batches(VOCABULARY)) == before + 1
        assert log.skipped.rows["schema: ragged row"].where == f"{path}, row {before + 1}"
        assert log.skipped.rows["schema: a time that can't be read"].where == f"{path}, row {before + 4}"


@pytest.mark.parametrize("name", ["log.csv.gz", "log.jsonl.gz"])
def test_a_packed_file_that_is_damaged_or_cut(name: str, tmp_path: Path):
    rows = [GOOD | {"item_id": at} for at in range(3_000)]
    whole_file = gzip.compress(write_log(tmp_path / name.removesuffix(".gz"), rows).read_bytes())
    for damaged in (b"\x1f\x8b\x08\x00" + b"x" * 60, whole_file[:-40], whole_file[:20] + b"\xff" * 9 + whole_file[29:]):
        (tmp_path / name).write_bytes(damaged)
        assert "give a whole file" in refusal(tmp_path / name)


def test_a_packed_file_of_records_that_is_cut(tmp_path: Path):
    line = b'{"partition":0,"offset":%d,"timestamp_ms":5,"key":"u1","value":{"user_id":"u1","action":"view"}}\n'
    lines = b"".join(line % at for at in range(90_000))
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(lines)[:-40])
    assert "give a whole file" in refusal(tmp_path / "log.jsonl.gz")


def test_parquet_whose_names_texts_or_vocabulary_are_damaged(tmp_path: Path):
    path = write_log(tmp_path / "log.parquet", [GOOD])
    path.write_bytes(path.read_bytes().replace(b"user_id", b"user\xffid"))
    assert "as Parquet" in refusal(path)
    pq.write_table(pa.table({name: [value] for name, value in GOOD.items()}), path, compression="none")
    path.write_bytes(path.read_bytes().replace(b"save", b"sa\xffe"))
    assert "Invalid UTF8 sequence" in refusal(path)
    table = pa.table({name: [value] for name, value in GOOD.items()})
    pq.write_table(table.replace_schema_metadata({"rankstream.vocabulary": "{"}), path)
    assert "names a vocabulary that can't be read" in refusal(path)
