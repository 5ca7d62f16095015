"""Times of any column to milliseconds: by whole columns and one value at a time, and which unit numbers have."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankstream.events.arrivals import LogError
from rankstream.events.readers.dates import AUTO, DATE_ORDERS, DAY_FIRST, MONTH_FIRST
from rankstream.events.readers.time_columns import as_values, times_of_column
from rankstream.events.readers.times import UNITS_NS, claimed_unit, time_ms, told_unit
from rankstream.features.actions import MAX_TIME_MS

NOON_MS = 1_569_931_200_500  # 2019-10-01 12:00:00.5 UTC
SECONDS, MS, US, NS = 1_569_931_200, 1_569_931_200_000, 1_569_931_200_000_000, 1_569_931_200_000_000_000

DATES = {
    "2019-10-01T12:00:00.5Z": NOON_MS,
    "2019-10-01 12:00:00.500": NOON_MS,
    "2019-10-01 12:00:00,500123456789 UTC": NOON_MS,
    "2019-10-01T14:00:00.5+02:00": NOON_MS,
    "2019-10-01T14:00:00.5+0200": NOON_MS,
    "2019-10-01 08:30:00.5 -0330": NOON_MS,
    "2019-10-01 12:00:00 UTC": NOON_MS - 500,
    "2019/10/01 12:00": NOON_MS - 500,
    "2019/10/1 12:00": NOON_MS - 500,
    "2019-10-01T12Z": NOON_MS - 500,
    "2019-10-01": NOON_MS - 500 - 12 * 3_600_000,
    " 2019-10-01T00:00 \n": NOON_MS - 500 - 12 * 3_600_000,
    "2020-02-29T23:59:59.999Z": 1_583_020_799_999,
    "2019-10-01 12:00 PM": NOON_MS - 500,
    "2019-10-01 00:00:00.5": NOON_MS - 12 * 3_600_000,
    "2019-10-01 12:00:00.5 am UTC": NOON_MS - 12 * 3_600_000,
    "2019-10-01, 2:00:00.5 p.m. +02:00": NOON_MS,
    "Tue Oct 01 12:00:00 +0000 2019": NOON_MS - 500,
    "Tue Oct 01 05:00:00 -0700 2019": NOON_MS - 500,
    "Tue Oct  1 12:00:00 2019": NOON_MS - 500,
    "Tue, 01 Oct 2019 14:00:00 +0200": NOON_MS - 500,
    "Tue, 1 Oct 2019 12:00:00 GMT": NOON_MS - 500,
    "01/Oct/2019:14:00:00 +0200": NOON_MS - 500,
    "1-OCT-2019 12:00:00.5": NOON_MS,
    "1. October 2019, 12:00": NOON_MS - 500,
    "Tuesday, October 1st, 2019 at 12:00 PM": NOON_MS - 500,
    "Oct. 1, 2019": NOON_MS - 500 - 12 * 3_600_000,
    "Sept 30, 2019": NOON_MS - 500 - 36 * 3_600_000,
    "29 Feb 2020": 1_582_934_400_000,
    "2019-10-01 05:00:00.5 PDT": NOON_MS,
    "2019-10-01 02:00:00.5 PM CEST": NOON_MS,
    "2019-10-01T07:00:00.5EST": NOON_MS,
    "2019-10-01 14:00:00.5 GMT+2": NOON_MS,
    "2019-10-01 07:00:00.5 UTC-5": NOON_MS,
    "2019-10-01 17:30:00.5 UTC+05:30": NOON_MS,
    "2019-10-01 12:00:00.5 GMT+0000": NOON_MS,
    "2019-10-01T14:00:00.5+02:00[Europe/Berlin]": NOON_MS,
    "2019-10-01T12:00:00.5Z[UTC]": NOON_MS,
    "Tue Oct 01 2019 14:00:00 GMT+0200 (Central European Summer Time)": NOON_MS - 500,
    "Tue Oct 01 2019 22:30:00 GMT+1030 (Australian Central Daylight Time)": NOON_MS - 500,
    "Tue, 1 Oct 2019 05:00:00 -0700 (PDT)": NOON_MS - 500,
    "Tue, 1 Oct 2019 08:00:00 EDT": NOON_MS - 500,
    "Tue Oct  1 05:00:00 PDT 2019": NOON_MS - 500,
    "Tue Oct  1 21:00:00 JST 2019": NOON_MS - 500,
    "[01/Oct/2019:05:00:00 -0700]": NOON_MS - 500,
    "20191001T120000.5Z": NOON_MS,
    "20191001 14:00:00,5 +0200": NOON_MS,
    "20191001T1200": NOON_MS - 500,
    "2019.10.01 12:00": NOON_MS - 500,
    "2019-10-01_12:00:00": NOON_MS - 500,
    "01-OCT-19 12:00:00": NOON_MS - 500,
    "Tue, 1 Oct 19 12:00 GMT": NOON_MS - 500,
}
ORDERED = {  # of dates that have the day first, and of the same time with the month first
    "01.10.2019 12:00:00,5": "10/1/2019 12:00:00.5 PM",
    "1/10/2019T14:00:00.5+02:00": "10-01-2019 12:00:00.5",
    "01.10.19 12:00:00.5": "10/1/19 12:00:00.5 PM",
    "01-10-2019, 12:00:00.5": "10/01/2019, 12:00:00.5\u202fPM",
}


def plainly(values, unit, dates=AUTO):
    """The times of values one by one; None for one that is not from 1970 to 2109."""
    times = []
    for value in values:
        try:
            at_ms = time_ms(value, unit, dates=dates)
        except ValueError:
            at_ms = -1
        times.append(at_ms if 0 <= at_ms <= MAX_TIME_MS else None)
    return times


def by_column(column, unit, dates=AUTO):
    times, found = times_of_column(column, unit, dates)
    return [at_ms if some else None for at_ms, some in zip(times.tolist(), found.tolist(), strict=True)]


@pytest.mark.parametrize("text", DATES)
def test_dates_are_read_as_people_write_them(text):
    assert time_ms(text, "s") == DATES[text]
    assert by_column(pa.array([text, "17", None]), "s") == [DATES[text], 17_000, None]
    assert by_column(pa.array([text, text]), "s") == [DATES[text]] * 2


@pytest.mark.parametrize("text", ORDERED)
def test_dates_are_read_in_the_order_of_their_log(text):
    for order, date_text in ((DAY_FIRST, text), (MONTH_FIRST, ORDERED[text])):
        assert time_ms(date_text, "s", dates=order) == NOON_MS
        assert by_column(pa.array([date_text, "2019-10-01 12:00:00.5", None]), "s", order) == [NOON_MS, NOON_MS, None]


@pytest.mark.parametrize("text", ["01/02/2019", "1.2.2019 12:00", "01-02-19"])
def test_whether_day_or_month_comes_first_is_not_guessed_from_one_value(text):
    with pytest.raises(
        ValueError, match=r"whether the day or the month comes first .* with --dates, or write the year"
    ):
        time_ms(text, "ms")
    assert by_column(pa.array([text]), "ms") == [None]


NOT_TIMES = ("noon", "", "2019-02-29", "2019-13-01", "2019-10-01 13:00 PM", "2019-10-01 0:30 AM", "2019-10-01T24:00",
             "2019-10-01 12:61", "2019-10-01T00:00+25:00", "0x1f", "1_000", "nan", "inf", "1e999", "9" * 400, "-", "١٧",
             "2019-10-01 12:00 (PDT)", "2019-10-01 12:00[Europe/Berlin]", "20191301T1200", "2019-10-01 12:00 GMT+24",
             "2019-10-01 12:00 UTC+", "2019-10-01 PDT", "x" * 97,
             "Feb 30, 2019", "1 Foo 2019", "Oct 2019", "Tue Oct 01 25:00:00 2019", "ſep 1, 2019", "1 Octo 2019",
             True, None, [1], float("nan"))  # fmt: skip


@pytest.mark.parametrize("value", NOT_TIMES)
def test_what_is_no_time_is_said_with_the_value_that_came(value):
    with pytest.raises(ValueError, match=r"^when is .*; wanted a date as 2023-11-14 or"):
        time_ms(value, "ms", "when")


@pytest.mark.parametrize("zone", ["CST", "IST", "BST", "XYZ"])
def test_letters_of_several_zones_are_refused_with_what_to_write(zone):
    text = f"2019-10-01 22:00:00 {zone}"
    with pytest.raises(ValueError, match=f"^when is '.*: the zone {zone} is several ones, or none .* as [+]0800$"):
        time_ms(text, "ms", "when")
    assert by_column(pa.array([text]), "ms") == [None]


@pytest.mark.parametrize(("number", "unit"), [(SECONDS, "s"), (MS, "ms"), (US, "us"), (NS, "ns")])
@pytest.mark.parametrize("kind", [int, float, str, Decimal, lambda number: f"{float(number):.9e}"])
def test_numbers_of_every_unit_and_type(number, unit, kind):
    value = kind(number)
    assert time_ms(value, unit) == MS
    assert by_column(pa.array([value]), unit) == [MS]
    if isinstance(value, str):
        assert by_column(pa.array([value, value, None]).dictionary_encode(), unit) == [MS, MS, None]


def test_fractions_of_seconds_are_rounded_to_the_millisecond():
    for value in (SECONDS + 0.5, f"{SECONDS}.5", f"{SECONDS}.4996", Decimal(f"{SECONDS}.500000")):
        assert time_ms(value, "s") == NOON_MS
        assert by_column(pa.array([value]), "s") == [NOON_MS]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai", "+05:30"])
def test_timestamps_of_parquet_have_their_own_unit_and_are_instants(unit, zone):
    raw = NOON_MS * UNITS_NS["ms"] // UNITS_NS[unit]
    column = pa.array([raw, None, 10**12 if unit == "s" else -1], pa.timestamp(unit, zone))
    wanted = [NOON_MS - 500 * (unit == "s"), None, None]
    assert by_column(column, "s") == wanted
    assert plainly(as_values(column).to_pylist(), "s") == wanted


def test_nanoseconds_below_a_millisecond_are_cut():
    column = pa.array([NS + 999_999], pa.timestamp("ns"))
    assert by_column(column, "ms") == plainly(as_values(column).to_pylist(), "ms") == [MS]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates_of_parquet(kind):
    column = pa.array([date(2019, 10, 1), None, date(1960, 1, 1)], kind)
    wanted = [MS - 12 * 3_600_000, None, None]
    assert by_column(column, "s") == plainly(as_values(column).to_pylist(), "s") == wanted
    assert time_ms(date(2019, 10, 1), "s") == wanted[0]
    assert time_ms(datetime(2019, 10, 1, 12, tzinfo=UTC), "s") == MS


def test_columns_that_hold_no_times_hold_none():
    for column in (pa.array([True]), pa.array([[1]]), pa.array([1], pa.duration("s")), pa.nulls(1)):
        assert by_column(column, "s") == [None]


numbers = st.one_of(st.integers(-(10**19), 10**20), st.floats(), st.decimals(places=3, allow_nan=False))
written = st.from_regex(r"\A[+-]?0{0,3}[0-9]{0,20}(\.[0-9]{0,9})?([eE][+-]?[0-9]{1,3})?\Z")
dates = st.from_regex(
    r"\A[0-2][0-9]{3}[-/][01]?[0-9][-/][0-3]?[0-9]([T ][0-2]?[0-9](:[0-6][0-9](:[0-6][0-9]([.,][0-9]{1,12})?)?)?"
    r" ?(Z|UTC|GMT|[+-][0-2][0-9](:?[0-7][0-9])?)?)?\Z"
)
ordered = st.from_regex(
    r"\A[0-3]?[0-9][-/.][0-3]?[0-9][-/.]([0-2][0-9])?[0-9]{2}"
    r"((, ?|[T ])[0-2]?[0-9](:[0-6][0-9])?( ?[AaPp]\.?[Mm]\.?)? ?Z?)?\Z"
)
known = st.sampled_from([*DATES, *ORDERED, *ORDERED.values(), "", " 17 "])
texts = st.one_of(numbers.map(str), written, dates, ordered, st.text(max_size=5), known, st.none())


@given(st.lists(texts), st.sampled_from(list(UNITS_NS)), st.sampled_from(DATE_ORDERS), st.booleans())
@example(["1.797693134862316e+305"], "s", AUTO, False)  # beyond the range of floats only in milliseconds
def test_a_column_of_texts_has_the_times_of_its_values(values, unit, order, as_dictionary):
    """The law that holds the fast reader and the plain one together."""
    column = pa.array(values, pa.string())
    column = column.dictionary_encode() if as_dictionary else column
    assert by_column(column, unit, order) == plainly(values, unit, order)


@given(st.lists(dates | st.sampled_from(list(DATES)), min_size=1), st.sampled_from(["", "Z", " UTC", "+02:00"]))
def test_a_column_of_dates_of_one_form_has_the_times_of_its_values(values, zone):
    values = [value[:10] + " 01:02:03" + zone for value in values]
    assert by_column(pa.array(values), "ms") == plainly(values, "ms")


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none()), st.sampled_from(list(UNITS_NS)))
def test_a_column_of_whole_numbers_has_the_times_of_its_values(values, unit):
    assert by_column(pa.array(values, pa.int64()), unit) == plainly(values, unit)


@given(st.lists(st.integers(0, 2**64 - 1)), st.sampled_from(list(UNITS_NS)))
def test_a_column_of_unsigned_numbers_has_the_times_of_its_values(values, unit):
    assert by_column(pa.array(values, pa.uint64()), unit) == plainly(values, unit)


@given(st.lists(st.floats() | st.floats(1e8, 1e13)), st.sampled_from(list(UNITS_NS)))
def test_a_column_of_fractions_has_the_times_of_its_values(values, unit):
    assert by_column(pa.array(values, pa.float64()), unit) == plainly(values, unit)


@given(st.lists(st.decimals(-(10**12), 10**13, places=6)), st.sampled_from(list(UNITS_NS)))
def test_a_column_of_decimals_has_the_times_of_its_values(values, unit):
    assert by_column(pa.array(values, pa.decimal128(20, 6)), unit) == plainly(values, unit)


# Which unit a log's numbers have.


@pytest.mark.parametrize(("number", "unit"), [(SECONDS, "s"), (MS, "ms"), (US, "us"), (NS, "ns"), (881_250_949, "s")])
@pytest.mark.parametrize("kind", [int, float, str, Decimal])
def test_the_unit_is_told_by_the_size_of_the_numbers(number, unit, kind):
    assert told_unit({"time": [kind(number)] * 9}, "log").unit == unit


def test_some_rows_of_nonsense_do_not_change_the_unit():
    assert told_unit({"time": [*[MS] * 20, SECONDS, None, "noon", 5]}, "log").unit == "ms"
    assert told_unit({"timestamp_ms": [MS, MS, SECONDS]}, "log").unit == "ms"  # its name agrees with most


def test_a_column_whose_name_claims_another_unit_is_refused_with_both_readings():
    words = (
        r"column timestamp_ms of log holds 1700000000: as ms, .* that is 1970-01-20, as s 2023-11-14; .*--time-unit s"
    )
    with pytest.raises(LogError, match=words):
        told_unit({"timestamp_ms": [1_700_000_000]}, "log")
    assert told_unit({"timestamp_ms": [1_700_000_000]}, "log", "s").unit == "s"


@pytest.mark.parametrize(
    "columns",
    [{"time": [MS, SECONDS] * 9}, {"time": [MS], "arrived_at": [SECONDS]}, {"time_s": [SECONDS], "arrived_ms": [MS]}],
)
def test_two_units_in_one_log_are_refused_with_both_readings(columns):
    with pytest.raises(LogError, match=r"1569931200.*2019-10-01.*2019-10-01.*in one unit"):
        told_unit(columns, "log")


def test_digits_of_a_date_are_no_milliseconds_of_the_seventies():
    with pytest.raises(LogError, match=r"holds 201910011230: as ms that is 1976-05-25, but its digits are .* a date"):
        told_unit({"time": [201_910_011_230, "201910011231"]}, "log")
    assert told_unit({"time": [201_910_011_230]}, "log", "ms").unit == "ms"


DAYS = {20_191_001: NOON_MS - 500 - 12 * 3_600_000, 20_191_001_120_000: NOON_MS - 500}


@pytest.mark.parametrize("number", DAYS)
@pytest.mark.parametrize("kind", [int, str, Decimal])
def test_digits_of_a_day_are_a_date_in_any_unit_as_they_are_no_time_since_1970(number, kind):
    """In s, ms, us and ns a number of so many digits is before 1973, or after 2109."""
    for unit in UNITS_NS:
        assert time_ms(kind(number), unit) == DAYS[number]
        for column in ([kind(number)], [kind(number), kind(MS // 1000), None]):
            assert by_column(pa.array(column), unit) == plainly(column, unit)
            assert by_column(pa.array(column), unit)[0] == DAYS[number]
    notes = told_unit({"date": [kind(number)] * 3}, "log").notes
    assert any("days alone" in note for note in notes) == (number == 20_191_001)


@pytest.mark.parametrize("number", [20_191_301, 20_190_229, 19_691_231, 20_191_001_240_000, 2_019_100_112])
def test_digits_that_are_of_no_date_are_a_number(number):
    assert time_ms(number, "ms") == number
    assert by_column(pa.array([number]), "s") == plainly([number], "s")


def test_a_timestamp_of_parquet_has_no_digits_of_a_day():
    column = pa.array([20_191_001], pa.timestamp("s"))
    assert by_column(column, "ms") == plainly(as_values(column).to_pylist(), "ms") == [20_191_001_000]


@pytest.mark.parametrize(
    ("name", "unit"),
    [("timestamp_ms", "ms"), ("eventTimeMillis", "ms"), ("time_s", "s"), ("event time (sec)", "s"), ("t_us", "us"),
     ("ts.nanos", "ns"), ("ts", None), ("s", None), ("timestamp", None), ("unix_seconds", "s"), ("items", None)],
)  # fmt: skip
def test_what_unit_a_columns_name_claims(name, unit):
    assert claimed_unit(name) == unit


def test_what_is_said_of_times():
    (note,) = told_unit({"date": ["2019-10-01 12:00", "2019-10-01T12:00Z"]}, "log").notes
    assert note == "times of column date without a zone are read as UTC, as 2019-10-01 12:00"
    for rounded in ("1.57E+09", "1.50421E+12", "1.569931e+09"):
        (note,) = told_unit({"when": [rounded] * 3}, "log").notes
        assert f"times of column when were rounded before they came, as {rounded}" in note
    assert told_unit({"when": ["1.569931200e+09", "1.5699312005e+12"]}, "log", "s").notes == ()
    (note,) = told_unit({"when": ["Tue Oct 01 12:00:00 2019", "Tue Oct 01 12:00:00 +0000 2019"]}, "log").notes
    assert note.endswith("without a zone are read as UTC, as Tue Oct 01 12:00:00 2019")
    assert told_unit({"date": ["2019-10-01 12:00 UTC", MS]}, "log").notes == ()
    (*_, note) = told_unit({"date": ["2019-10-01", "2019-10-02"]}, "log").notes
    assert note.startswith("times of column date are days alone: ")


# Whether the day or the month comes first in a log's dates.


@pytest.mark.parametrize(
    ("values", "order", "by"),
    [
        (["01/02/2019", "13/02/2019"], DAY_FIRST, "13/02/2019"),
        (["01/02/2019 9:00 PM", None, "02/13/2019 9:00 AM"], MONTH_FIRST, "02/13/2019 9:00 AM"),
        (["1.2.2019 12:00"], DAY_FIRST, "1.2.2019 12:00"),  # nobody writes the month first with dots
        (["1/2/19", "3/14/19"], MONTH_FIRST, "3/14/19"),
    ],
)
def test_the_order_of_dates_is_told_by_those_that_can_be_read_in_one_way_alone(values, order, by):
    told = told_unit({"when": values}, "log")
    assert told.dates == order
    assert told.notes[0] == f"dates are read with the {order.split('-')[0]} first, as {by}; --dates says otherwise"


def test_dates_that_fit_both_orders_are_refused_with_both_readings():
    words = (
        r"when of log holds 01/02/2019: 2019-02-01 with the day first, 2019-01-02 with the month first, .* --dates d"
    )
    with pytest.raises(LogError, match=words):
        told_unit({"when": ["01/02/2019", "03/04/2019 12:00"]}, "log")
    assert told_unit({"when": ["01/02/2019"]}, "log", dates=MONTH_FIRST).dates == MONTH_FIRST


def test_a_year_of_two_digits_may_be_a_day():
    with pytest.raises(LogError, match=r"holds 24/03/11: 2011-03-24 with the day first, .* with --dates day-first"):
        told_unit({"when": ["24/03/11"]}, "log")


def test_two_orders_in_one_log_are_refused():
    with pytest.raises(LogError, match=r"13/02/2019, which has the day first, and 02/13/2019, which has the month"):
        told_unit({"when": ["13/02/2019", "02/13/2019"]}, "log")


def test_a_few_odd_dates_among_others_tell_no_order():
    assert told_unit({"when": ["2019-02-01"] * 3 + ["01/02/2019"]}, "log").dates == AUTO


def test_dates_alone_need_no_unit():
    assert told_unit({"date": ["2019-10-01"]}, "log").unit == "ms"


def test_a_number_beyond_all_floats_tells_no_unit():
    assert told_unit({"when": [10**400, 1_700_000_000]}, "a log").unit == "s"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (
            638_355_968_000_000_000,
            "638355968000000000: as ns that is 1990-03-25, but 2023-11-14 in 100 ns since the year 1",
        ),
        (133_444_736_000_000_000, "133444736000000000: as ns that is 1974-03-25, but 2023-11-14 in 100 ns since 1601"),
        (13_344_473_600_000_000, "no time since 1970 in any unit, but 2023-11-14 in us since 1601, as Chrome counts"),
        ("45244.9259", "no time since 1970 in any unit, but 2023-11-14 in days since 1900, as spreadsheets count"),
    ],
)
def test_numbers_of_a_clock_that_does_not_begin_in_1970_are_refused_with_their_day(number, words):
    with pytest.raises(LogError) as refused:
        told_unit({"at": [number, number]}, "log.csv")
    assert words in str(refused.value)
    assert told_unit({"at": [number]}, "log.csv", unit="ns").unit == "ns"


def test_numbers_that_are_of_no_clock_are_left_to_who_reads_the_rows():
    assert told_unit({"at": [0, 36, 45_244]}, "log.csv").unit == "ms"
    assert told_unit({"at_ns": [638_355_968_000_000_000]}, "log.csv").unit == "ns"


def test_times_of_before_there_were_logs_are_said():
    told = told_unit({"ts": [721_692_800, 721_692_801]}, "log.csv")
    assert told.unit == "s"
    assert "times of column ts are of 1992-11-13; if they count from 2001, as Apple's clocks do" in told.notes[0]
    assert told_unit({"ts": [881_250_949, 721_692_801]}, "u.data").notes == ()
