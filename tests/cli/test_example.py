"""`rankstream example`: a file, or one sentence; and never over a file that is there."""

import json
import sys

import pytest

from rankstream.events.example.files import COLUMNS
from tests.builders.cli import rankstream, refusal

SMALL = ("--rows", 800, "--users", 40, "--products", 50)


def test_it_writes_the_file_and_says_what_to_do_with_it(tmp_path):
    done = rankstream("example", tmp_path / "shop.csv", *SMALL)
    assert done.exit_code == 0, done.output
    assert "800 rows of 40 customers on 50 products, from 2023-10-02 to 2023-11-1" in done.stdout
    assert "made up" in done.stdout
    assert f"next: rankstream train {tmp_path / 'shop.csv'} --out run --until 2023-11-06" in done.stdout
    assert len((tmp_path / "shop.csv").read_text().splitlines()) == 801


def test_json_holds_what_was_written(tmp_path):
    written = json.loads(rankstream("example", tmp_path / "shop.csv", *SMALL, "--json").stdout)
    assert written["first"].startswith("2023-10-02 ")
    assert written | {"first": "", "last": ""} == {
        "file": str(tmp_path / "shop.csv"), "rows": 800, "users": 40, "products": 50, "first": "", "last": "",
        "until": "2023-11-06",
    }  # fmt: skip


def test_a_dash_writes_csv_to_standard_output_and_nothing_else():
    lines = rankstream("example", "-", *SMALL).stdout.splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 801


def test_a_seed_writes_the_same_file_and_another_one_another(tmp_path):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        rankstream("example", tmp_path / f"{name}.csv", *SMALL, "--seed", seed)
    one, two, three = ((tmp_path / f"{name}.csv").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(tmp_path):
    (tmp_path / "shop.csv").write_text("mine")
    assert "--force" in refusal(rankstream("example", tmp_path / "shop.csv", *SMALL))
    assert (tmp_path / "shop.csv").read_text() == "mine"
    assert rankstream("example", tmp_path / "shop.csv", *SMALL, "--force").exit_code == 0
    assert (tmp_path / "shop.csv").read_text().startswith("event_time")


@pytest.mark.parametrize(
    ("name", "flags", "part"),
    [
        ("shop.txt", SMALL, ".csv, .csv.gz, .jsonl, .parquet"),
        ("nowhere/shop.csv", SMALL, "there is no folder"),
        ("shop.csv", ("--rows", 100), "ask for 12,000 rows or more"),
        ("shop.csv", ("--rows", 0), "--rows"),
        ("-", (*SMALL, "--json"), "name a file"),
    ],
)
def test_what_can_not_be_written_is_one_sentence_and_no_file(tmp_path, name, flags, part):
    file = name if name == "-" else tmp_path / name
    assert part in refusal(rankstream("example", file, *flags))
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "rankstream[train]" in refusal(rankstream("example", tmp_path / "shop.parquet", *SMALL))
    assert list(tmp_path.iterdir()) == []
