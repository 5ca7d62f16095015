"""The day in one column and the time of day in another are one time."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.arrivals import LogError
from rankstream.events.open import LogOptions, open_log
from rankstream.events.readers.plain import PlainReader
from rankstream.events.registry import read_log
from tests.builders.logs import write_log

TEN_MS = 1_477_821_600_000  # 2016-10-30 10:00 UTC
SOLD = LogOptions(constants={"action": "sale"})


def a_till(path: Path, rows: list[str], heading: str = "Date,Time,customer,Item") -> Path:
    """A log of a till whose rows begin with a day and a time of day."""
    path.write_text("\n".join([heading, *rows]) + "\n")
    return path


def times_of(path: Path, options: LogOptions = SOLD) -> list[int]:
    """The times of a log's rows, by the fast reader, which must be those of the plain one."""
    log = open_log(path, options)
    (file,) = log.files
    plainly = replace(log, files=(replace(file, reader=PlainReader(file.layout)),))
    times = read_log(log).times_ms.tolist()
    assert read_log(plainly).times_ms.tolist() == times
    return times


@pytest.mark.parametrize(
    ("day", "clock"),
    [("2016-10-30", "10:00:00"), ("2016-10-30", "10:00"), ("30.10.2016", "10:00:00.0"), ("10/30/2016", "10:00 AM")],
)
def test_both_are_told_by_their_values_and_said(day, clock, tmp_path):
    path = a_till(tmp_path / "till.csv", [f"{day},{clock},c1,tea", f"{day},{clock},c2,jam"])
    assert times_of(path) == [TEN_MS, TEN_MS]
    assert "timestamp_ms is Date+Time; --map says otherwise" in open_log(path, SOLD).notes[0]


def test_columns_of_any_names_are_joined_where_both_are_named(tmp_path):
    path = a_till(tmp_path / "till.csv", ["2016-10-30,10:00,c1,tea"], "Tag,Uhrzeit,customer,Item")
    named = replace(SOLD, columns={"timestamp_ms": "Tag+Uhrzeit"})
    assert times_of(path, named) == [TEN_MS]
    with pytest.raises(LogError, match=r"has no column Tag\+Zeit"):
        open_log(path, replace(SOLD, columns={"timestamp_ms": "Tag+Zeit"}))


def test_one_of_them_is_read_alone_where_it_alone_is_named(tmp_path):
    path = a_till(tmp_path / "till.csv", ["2016-10-30,10:00,c1,tea"])
    assert times_of(path, replace(SOLD, columns={"timestamp_ms": "Date"})) == [TEN_MS - 10 * 3_600_000]


def test_a_row_without_a_time_of_day_has_its_day_and_one_without_a_day_is_skipped(tmp_path):
    path = a_till(tmp_path / "till.csv", ["2016-10-30,10:00,c1,tea", "2016-10-30,,c1,jam"])
    assert times_of(path) == [TEN_MS - 10 * 3_600_000, TEN_MS]
    a_till(path, ["2016-10-30,10:00,c1,tea", ",10:00,c2,tea"])
    with pytest.raises(LogError, match="row 2: Date is '10:00'; wanted a date"):
        read_log(open_log(path, SOLD))


def test_a_column_whose_name_holds_a_plus_is_that_column(tmp_path):
    path = a_till(tmp_path / "till.csv", ["2016-10-30 10:00,2015-01-01,10:00,c1,tea"], "a+b,a,b,customer,Item")
    assert times_of(path, replace(SOLD, columns={"timestamp_ms": "a+b"})) == [TEN_MS]


@pytest.mark.parametrize("rows", [["2016-10-30,2016-10-31,c1,tea"], ["10:00,11:00,c1,tea"], ["2016-10-30,17,c1,tea"]])
def test_two_columns_that_are_not_a_day_and_a_time_of_day_are_still_refused(rows, tmp_path):
    with pytest.raises(LogError, match="several columns that may hold timestamp_ms, Date and Time"):
        open_log(a_till(tmp_path / "till.csv", rows), SOLD)


def test_rows_of_a_folder_of_such_files_are_read_alike(tmp_path):
    for day in ("29", "30"):
        a_till(tmp_path / f"{day}.csv", [f"2016-10-{day},10:00,c1,tea"])
    assert read_log(open_log(tmp_path, SOLD)).times_ms.tolist() == [TEN_MS - 86_400_000, TEN_MS]


ROWS_OF_PARTS = {
    "year,month,day": ("2016,10,30", "2016-10-30"),
    "Year,Month,Day,Time": ("2016,10,30,9:58:11", "2016-10-30 09:58:11"),
    "yyyy,mm,dd,hh": ("2016,1,3,9", "2016-01-03 09:00"),
    "YEAR,MONTH,DAY,HOUR,MINUTE,SECOND": ("2016,1,3,9,5,7", "2016-01-03 09:05:07"),
    "year,month,day,hour,min": ("2016,Jan,3,23,59", "2016-01-03 23:59"),
    "date,hour": ("2016-10-30,7", "2016-10-30 07:00"),
    "Date,Hour,Minute": ("2016-10-30,7,5", "2016-10-30 07:05"),
    "year,month,dayofmonth,hour": ("2016,October,30,7", "2016-10-30 07:00"),
}


@pytest.mark.parametrize("heading", ROWS_OF_PARTS)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_date_in_three_columns_is_told_by_names_and_values(heading, ending, tmp_path):
    row, date = ROWS_OF_PARTS[heading]
    at_ms = int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)
    names = ["customer", *heading.split(","), "item"]
    values = [int(value) if value.isdigit() else value or None for value in row.split(",")]
    path = write_log(tmp_path / f"log.{ending}", [dict(zip(names, [who, *values, "tea"], strict=True)) for who in "ab"])
    log = open_log(path, SOLD)
    assert f"timestamp_ms is {heading.replace(',', '+')}; --map says otherwise" in log.notes[0]
    assert read_log(log).times_ms.tolist() == [at_ms] * 2
    if ending == "csv":
        assert times_of(path) == [at_ms] * 2
    named = replace(SOLD, columns={"timestamp_ms": heading.replace(",", "+")})
    assert read_log(open_log(path, named)).times_ms.tolist() == [at_ms] * 2


def test_parts_with_names_of_their_own_are_named(tmp_path):
    path = a_till(tmp_path / "till.csv", ["2016,10,30,10,0,c1,tea"], "Jahr,Monat,Tag,Stunde,Min,customer,Item")
    assert times_of(path, replace(SOLD, columns={"timestamp_ms": "Jahr+Monat+Tag+Stunde+Min"})) == [TEN_MS]
    a_till(path, ["30.10.2016,10,0,c1,tea"], "Tag,Hour,Min,customer,Item")
    assert times_of(path, replace(SOLD, columns={"timestamp_ms": "Tag+Hour+Min"})) == [TEN_MS]


def test_parts_in_columns_of_floats_are_whole(tmp_path):
    columns = {"user_id": [1, 2], "item_id": [1, 2], "year": [2016.0, None], "month": [10.0, None], "day": [30.0, None]}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    log = open_log(tmp_path / "log.parquet", SOLD)
    assert read_log(log, strict=False).times_ms.tolist() == [TEN_MS - 10 * 3_600_000]
    assert log.skipped.by_kind() == {"schema: no timestamp_ms": 1}


@pytest.mark.parametrize("row", ["2016,2,30,c1,tea", "16,10,30,c1,tea", "2016,13,1,c1,tea", "2016,,,c1,tea"])
def test_what_is_no_date_in_three_columns_is_no_time(row, tmp_path):
    with pytest.raises(LogError, match="has no column timestamp_ms; it has year, month, day"):
        open_log(a_till(tmp_path / "till.csv", [row], "year,month,day,customer,Item"), SOLD)


@pytest.mark.parametrize(("at", "hour"), [("2016-10-30 10:00", 3), ("2016-10-30 10:00", 25), ("1477821600", 3)])
def test_an_hour_belongs_to_no_whole_time(at, hour, tmp_path):
    assert times_of(a_till(tmp_path / "till.csv", [f"{at},{hour},c1,tea"], "ts,hour,customer,Item")) == [TEN_MS]


def test_an_hour_that_is_none_is_left_alone(tmp_path):
    path = a_till(tmp_path / "till.csv", ["2016-10-30,14102100,c1,tea"], "date,hour,customer,Item")
    assert times_of(path) == [TEN_MS - 10 * 3_600_000]


def test_a_time_beside_a_year_a_month_and_a_day_is_the_time(tmp_path):
    path = a_till(tmp_path / "till.csv", ["2015,1,2,2016-10-30 10:00,c1,tea"], "year,month,day,at,customer,Item")
    with pytest.raises(LogError, match="row 1: year is"):
        times_of(path, replace(SOLD, columns={"timestamp_ms": "year"}))
    path = a_till(path, ["2015,1,2,2016-10-30 10:00,c1,tea"], "year,month,day,ts,customer,Item")
    assert times_of(path) == [TEN_MS]
