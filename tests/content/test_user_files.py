"""A file of users, however it is written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.content.user_files import REPEATED, ReadUsers, UserOptions, read_users
from rankstream.events.arrivals import LogError
from rankstream.features.ids import id_key

BY_NAMES = UserOptions()


def read(path: Path, text: str, options: UserOptions = BY_NAMES) -> ReadUsers:
    path.write_text(text)
    return read_users(path, options)


def test_the_column_of_ids_is_told_by_its_name_and_all_others_are_read(tmp_path: Path) -> None:
    found = read(tmp_path / "users.csv", "age,customer,sex\n31,7,F\n40,u8,\n")
    assert found.values == {"age": {7: "31", id_key("u8"): "40"}, "sex": {7: "F"}}
    assert "the ids of users are customer" in found.notes[0]


def test_columns_that_are_named_are_read_and_no_others(tmp_path: Path) -> None:
    found = read(tmp_path / "users.csv", "age,customer,card\n31,7,c1\n", UserOptions("card", ("age",)))
    assert found.values == {"age": {id_key("c1"): "31"}}


def test_json_lines_and_parquet_keep_numbers(tmp_path: Path) -> None:
    found = read(tmp_path / "users.jsonl", '{"user_id": 7, "age": 31, "new": true}\n{"user_id": 8, "tags": ["a"]}\n')
    assert found.values == {"age": {7: 31.0}, "new": {7: "True"}, "tags": {}}
    pq.write_table(pa.table({"user_id": [7, 8], "age": [31, None]}), tmp_path / "users.parquet")
    assert read_users(tmp_path / "users.parquet", UserOptions()).values == {"age": {7: 31.0}}


def test_what_is_neither_a_text_nor_a_number_is_not_known(tmp_path: Path) -> None:
    text = f'{{"user": 7, "a": ["x"], "b": null, "c": {10**400}, "d": "  "}}\n'
    assert not any(read(tmp_path / "users.jsonl", text).values.values())


def test_of_rows_with_one_id_the_last_one_counts(tmp_path: Path) -> None:
    found = read(tmp_path / "users.csv", "user,sex\n7,F\n7,\n")
    assert found.values == {"sex": {}}
    assert found.skipped.most_common_ignored()[0][1] == 1
    assert REPEATED in found.skipped.most_common_ignored()[0][0]


def test_a_row_without_an_id_is_skipped_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path / "users.csv", "user,sex\n,F\n8,M\n9,M\n")
    assert (found.rows, len(found.users), found.skipped.total()) == (3, 2, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "none of a, b is called as the column of the users' ids; name it with --user-columns ID"),
        ("user,customer\n1,2\n", "user and customer may be the column of the users' ids"),
        ("user,sex\n", "holds no user"),
        ("", "is empty: it has no rows, and no columns; give another file"),
        ("user,sex\n,F\n,M\n9,M\n", "2 of the 3 rows of"),
    ],
)
def test_a_file_that_holds_no_users_is_refused_in_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(LogError, match=words):
        read(tmp_path / "users.csv", text)


def test_a_column_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="has no column born; it has user, sex"):
        read(tmp_path / "users.csv", "user,sex\n7,F\n", UserOptions("user", ("born",)))
