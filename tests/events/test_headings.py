"""What stands above the rows of a file, and which names belong to which of their fields."""

from pathlib import Path

import pytest

from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import read_log
from tests.builders.actions import MORNING_MS
from tests.builders.logs import same
from tests.events.test_text import both_ways, refusal

HEADING = "user_id,item_id,action,timestamp_ms\n"
ROWS = f"u1,i1,view,{MORNING_MS}\nu2,i2,save,{MORNING_MS + 1}\n"


def a_file(folder: Path, text: str, name: str = "log.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def as_usual(path: Path, options: LogOptions = LogOptions()) -> tuple[str, ...]:  # noqa: B008  # frozen
    """Check that a file holds what ``ROWS`` say, by both readers, and return what was said of it."""
    fast, plain = both_ways(path, options)
    assert same(fast, plain)
    assert list(map(str, fast.user_ids)) == ["u1", "u2"]
    assert list(map(str, fast.item_ids)) == ["i1", "i2"]
    assert fast.times_ms.tolist() == [MORNING_MS, MORNING_MS + 1]
    return open_log(path, options).notes


@pytest.mark.parametrize(
    ("above", "said"),
    [
        ("# exported on Monday\n", "'# exported on Monday'"),
        ("# exported, on Monday\n#\n\n", "'# exported, on Monday'"),
        ("Sales of 2023\n\n", "'Sales of 2023'"),
        ("Sales of 2023,,,\n,,,\n", "'Sales of 2023,,,'"),
        ("sep=,\n", ""),
        ("\ufeffsep=,\r\n", ""),
    ],
)
def test_what_stands_above_the_heading_is_passed_over_and_said(above, said, tmp_path):
    notes = as_usual(a_file(tmp_path, above + HEADING + ROWS))
    assert [note.rpartition("passed over, as ")[2] for note in notes] == [said] * bool(said)


def test_excels_first_line_tells_the_delimiter(tmp_path):
    as_usual(a_file(tmp_path, "sep=;\n" + (HEADING + ROWS).replace(",", ";")))
    as_usual(a_file(tmp_path, '"sep=^"\n' + (HEADING + ROWS).replace(",", "^")))


def test_a_heading_that_begins_as_a_comment_is_one(tmp_path):
    as_usual(a_file(tmp_path, "#" + HEADING + ROWS))
    as_usual(a_file(tmp_path, "# a graph\n# " + HEADING + ROWS))


def test_comments_above_rows_without_a_heading_are_no_heading(tmp_path):
    path = a_file(tmp_path, "# a graph\n# of 2 nodes\n" + ROWS)
    assert "has no heading, its first row is u1, i1, view" in refusal(path)
    as_usual(path, LogOptions(heading=tuple(HEADING.strip().split(","))))


def test_ragged_rows_below_such_lines_have_their_numbers(tmp_path):
    path = a_file(tmp_path, "# one\n\n# two\n" + HEADING + ROWS + "u3,i3\n" + ROWS)
    log = open_log(path)
    assert len(read_log(log, strict=False)) == 4
    assert log.skipped.rows["schema: ragged row"].where == f"{path}, row 3"


def test_rows_are_not_taken_for_what_stands_above_a_heading(tmp_path):
    path = a_file(tmp_path, HEADING + f"user,item,type,{MORNING_MS}\n" + ROWS + HEADING + ROWS)
    log = open_log(path)
    assert read_log(log, strict=False).user_ids.tolist() == ["user", "u1", "u1", "u2", "u2"]
    assert log.skipped.total() == 1  # the heading that comes again


@pytest.mark.parametrize("more", [",-0.1,0.2,0.3", ",x", ","])
def test_names_are_those_of_the_first_fields_where_the_times_are_there(more, tmp_path):
    notes = as_usual(a_file(tmp_path, HEADING + ROWS.replace("\n", more + "\n")))
    assert len(notes) == (more != ",")
    assert all("so the names are those of the first ones" in note for note in notes)


def test_names_are_those_of_the_last_fields_where_the_first_ones_count_the_rows(tmp_path):
    rows = "".join(f'"{at}",{row}\n' for at, row in enumerate(ROWS.splitlines(), 1))
    (note,) = as_usual(a_file(tmp_path, HEADING + rows))
    assert "its heading has 4 names and its rows 5 fields, so the names are those of the last ones" in note


@pytest.mark.parametrize("heading", ["user_id,item_id,timestamp", "user_id,item_id,when_it_was"])
def test_where_the_times_do_not_tell_nothing_is_guessed_and_columns_names_them(heading, tmp_path):
    at_s = MORNING_MS // 1000
    path = a_file(tmp_path, f"{heading}\n1,{at_s},{at_s},{at_s}\n2,{at_s},{at_s},{at_s}\n")
    words = refusal(path, constants={"action": "view"})
    assert "has 3 names, and its rows have 4 fields, as 1, " in words
    assert words.endswith("; name those with --columns NAME,NAME,... (4 names)")
    how = LogOptions(heading=("row", "user_id", "item_id", "timestamp"), constants={"action": "view"})
    log = open_log(path, how)
    assert read_log(log, strict=True).user_ids.tolist() == [at_s, at_s]


def test_rows_of_fewer_fields_than_names_are_refused_with_what_to_say(tmp_path):
    path = a_file(tmp_path, HEADING.replace("timestamp_ms", "price,timestamp_ms") + ROWS)
    assert "the heading of" in refusal(path)
    as_usual(path, LogOptions(heading=("user_id", "item_id", "action", "timestamp_ms")))


def test_a_few_ragged_rows_do_not_move_the_names(tmp_path):
    path = a_file(tmp_path, HEADING + ROWS * 10 + "1,u1,i1,view,5\n")
    assert len(read_log(open_log(path), strict=False)) == 20


PADDED = f""" user_id | item_id | action | timestamp_ms
---------+---------+--------+---------------
 u1      | i1      | view   | {MORNING_MS}
 u2      | i2      | save   | {MORNING_MS + 1}
(2 rows)
"""


@pytest.mark.parametrize(
    "text",
    [
        PADDED,
        HEADING.replace(",", " ,") + ROWS.replace(",", " , "),
        HEADING + ROWS.replace("u1", "u1   ").replace("u2", "u2   "),
        HEADING + ROWS.replace("u1", " u1").replace("u2", " u2"),
    ],
)
def test_spaces_that_fill_up_columns_are_no_part_of_ids(text, tmp_path):
    notes = as_usual(a_file(tmp_path, text, "log.txt"))
    assert "spaces around its fields are taken for no part of them" in notes[0]


def test_columns_of_a_fixed_width_are_told_by_it(tmp_path):
    at = MORNING_MS
    path = a_file(tmp_path, HEADING + f"u1,i1   ,view,{at}\nu1,item9,view,{at}\nu1,item8,view,{at}\n")
    assert read_log(open_log(path)).item_ids.tolist() == ["i1", "item9", "item8"]


def test_a_space_in_one_id_of_many_is_a_letter(tmp_path):
    path = a_file(tmp_path, HEADING + ROWS * 10 + f"u1 ,i1,view,{MORNING_MS}\n")
    assert "u1 " in read_log(open_log(path)).user_ids.tolist()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"BZh91AY&SY", "packed by bzip2; unpack it: bunzip2 < log.csv > unpacked-log.csv"),
        (b"Obj\x01\x04", "an Avro file; write Parquet of it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "fetch the file itself: git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "a web page; look at it"),
    ],
)
def test_what_is_no_text_is_named_by_its_first_bytes(start, words, tmp_path):
    (tmp_path / "log.csv").write_bytes(start)
    assert words in refusal(tmp_path / "log.csv")
    (tmp_path / "log.jsonl").write_bytes(start)
    assert words.replace(".csv", ".jsonl") in refusal(tmp_path / "log.jsonl")


def test_a_web_servers_log_is_told_how_its_times_are_named(tmp_path):
    line = '127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326\n'
    path = a_file(tmp_path, line * 3, "access.txt")
    assert "user_id,item_id,action,day,zone," in (words := refusal(path))
    assert words.endswith(" --map timestamp_ms=day+zone")
    names = ("host", "ident", "user_id", "day", "zone", "item_id", "status", "bytes")
    how = LogOptions(heading=names, columns={"timestamp_ms": "day+zone"}, constants={"action": "get"})
    assert read_log(open_log(path, how)).times_ms.tolist() == [971_211_336_000] * 3


def test_a_few_nul_bytes_are_told_to_be_taken_out_and_many_to_be_utf_16(tmp_path):
    path = a_file(tmp_path, HEADING + ROWS * 9 + "u\0,i,view,5\n")
    assert refusal(path).endswith("take them out: tr -d '\\000' < log.csv > clean-log.csv")
    path.write_bytes((HEADING + ROWS).encode("utf-16-le"))
    assert "iconv -f UTF-16LE" in refusal(path)
