"""The example is written alike in every format, and whole or not at all."""

import csv
import gzip
import json

import pytest

from rankstream.events.example import files
from rankstream.events.example.files import COLUMNS, EndingError, check_ending, write_example
from rankstream.events.example.sessions import ExampleConfig, example_log

pytest.importorskip("pyarrow", reason="one of the formats is Parquet")


@pytest.fixture(scope="module")
def log():
    return example_log(ExampleConfig(rows=1_000, customers=50, products=80))


def rows_of(path):
    """The rows of a file as texts, in the CSV's form."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        rows = parquet.read_table(path).to_pylist()
        return [[row["event_time"].strftime("%Y-%m-%d %H:%M:%S UTC"), *_texts(row)[1:]] for row in rows]
    if path.suffix == ".jsonl":
        return [_texts(json.loads(line)) for line in path.read_text().splitlines()]
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return list(csv.reader(file))[1:]


def _texts(row):
    return ["" if row[name] is None else str(row[name]) for name in COLUMNS]


def test_the_csv_is_what_a_shop_exports(log, tmp_path):
    write_example(log, tmp_path / "shop.csv")
    heading, first = (tmp_path / "shop.csv").read_text().splitlines()[:2]
    assert heading == "event_time,event_type,product_id,category,price,customer_id"
    time, kind, product, category, price, _ = first.split(",")
    assert time.startswith("2023-10-0")
    assert time.endswith(" UTC")
    assert kind == "view"
    assert len(product) == 6
    assert "." in category
    assert float(price) > 0


@pytest.mark.parametrize("name", ["shop.csv.gz", "shop.jsonl", "shop.parquet"])
def test_every_format_holds_the_rows_of_the_csv(log, tmp_path, name):
    for path in (tmp_path / "shop.csv", tmp_path / name):
        write_example(log, path)
    assert rows_of(tmp_path / name) == rows_of(tmp_path / "shop.csv")


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".jsonl", ".parquet"])
def test_the_same_log_is_the_same_file_to_the_byte(log, tmp_path, ending):
    for name in ("one", "two"):
        write_example(log, tmp_path / f"{name}{ending}")
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()


@pytest.mark.parametrize("name", ["shop.txt", "shop", "shop.gz", "shop.jsonl.gz"])
def test_other_endings_are_refused_with_those_that_can_be_written(tmp_path, name):
    with pytest.raises(EndingError, match=r"\.csv, \.csv\.gz, \.jsonl, \.parquet"):
        check_ending(tmp_path / name)


def test_a_file_whose_writing_is_cut_short_is_not_there(log, tmp_path, monkeypatch):
    def interrupted(log, file):
        file.write(b"event_time")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_csv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_example(log, tmp_path / "shop.csv")
    assert list(tmp_path.iterdir()) == []
