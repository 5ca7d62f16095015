"""Columns are told by their usual names, and never where two fit."""

from itertools import combinations
from pathlib import Path

import pytest

from rankstream.events.arrivals import LogError
from rankstream.events.guess import SYNONYMS, fitting, plain_name
from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import read_log
from tests.builders.actions import MORNING_MS
from tests.builders.logs import write_log

ROW = {"user_id": "u1", "item_id": "i1", "action": "view", "timestamp_ms": MORNING_MS}


def log_of(folder: Path, columns: dict[str, str], **more: object) -> Path:
    """A log of one row whose fields stand in columns of other names."""
    row = {columns.get(name, name): value for name, value in ROW.items() if columns.get(name, name)} | more
    path = folder / "log.csv"
    path.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    return path


HEADINGS = [
    "user,item,event,ts", "CustomerID,StockCode,type,InvoiceDate", "visitorid,itemid,event,timestamp",
    "client-id,product_id,event_type,event_time", "uid,sku,behaviour,date", "Member ID,track,action,played_at",
    "account.id,asin,Event Name,created_at", "user.id,video.id,behavior,datetime",
    "reviewerID,movie_id,verb,unixReviewTime", "session_id,article_id,interaction,time_ms",
    "household_id,song,activity,timestamp_s", "USER_ID,ITEM_ID,ACTION,TIMESTAMP",
    "Email,Lineitem sku,event,Created at", "Customer User ID,SKU,type,Order Date",
    "user_id:token,item_id:token,action:token,timestamp:float", "userId,bookId,actionType,epoch",
    "Member_number,itemDescription,event,Date", "user,product_name,action,time",
    "user_id,click_article_id,event,click_timestamp", "CUSTOMER_ID,PRODUCT_ID,event,TRANSACTION_DT",
    "userId,venueId,action,utcTimestamp", "username,game_id,action,started_at", "UserId,PostId,type,CreationDate",
    "customer_unique_id,product_id,event,order_purchase_timestamp", "customer_id,article_id,type,t_dat",
    "user_id,book_id,action,date_added", "UserID,JobID,event,ApplicationDate",
]  # fmt: skip


@pytest.mark.parametrize("heading", HEADINGS)
def test_usual_names_are_told_and_said_in_one_line(heading, tmp_path):
    names = heading.split(",")
    found = fitting(names, list(ROW))
    assert found == {name: [column] for name, column in zip(ROW, names, strict=True)}
    value = {"timestamp_s": MORNING_MS // 1000}.get(names[3], MORNING_MS)
    path = log_of(tmp_path, dict(zip(ROW, names, strict=True)), **{names[3]: value})
    log = open_log(path, LogOptions(kind="events"))
    assert read_log(log).times_ms.tolist() == [MORNING_MS // 1000 * 1000 if "timestamp_s" in names else MORNING_MS]
    said = ", ".join(f"{name} is {column}" for name, column in zip(ROW, names, strict=True) if name != column)
    assert log.notes[0] == f"{path}: by the names of its columns, {said}; --map says otherwise"


def test_ids_that_a_spreadsheet_has_rounded_are_said(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,ean,action,timestamp_ms\n" + f"7,4.00739E+12,view,{MORNING_MS}\n" * 3)
    *_, note = open_log(tmp_path / "log.csv").notes
    assert note.startswith("ids of column ean were rounded before they came, as 4.00739E+12, so that different ones")
    assert note.endswith("are one; export that column as text")


def test_ids_that_pandas_made_floats_are_said(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,action,timestamp_ms\n" + f"123.0,7,view,{MORNING_MS}\n" * 3)
    log = open_log(tmp_path / "log.csv")
    assert log.notes == (
        "ids of column user_id are written as 123.0, as pandas writes whole numbers beside gaps, and are read so; "
        "export them as whole numbers, or name them so in requests",
    )
    assert set(read_log(log).user_ids) == {"123.0"}


def test_the_wires_own_names_need_no_guess_and_are_preferred(tmp_path):
    log = open_log(log_of(tmp_path, {}, customer="c1", sku="s1", event="e", ts=5))
    assert read_log(log).user_ids.tolist() == ["u1"]
    assert log.notes == ()


@pytest.mark.parametrize(
    ("field", "one", "two"),
    [("user_id", "customer", "client_id"), ("item_id", "sku", "product_id"), ("action", "event", "activity"),
     ("timestamp_ms", "date", "time"), ("timestamp_ms", "created_at", "date"), ("timestamp_ms", "click_ts", "buy_ts")],
)  # fmt: skip
def test_where_two_fit_neither_is_taken_and_map_decides(field, one, two, tmp_path):
    path = log_of(tmp_path, {field: one}, **{two: ROW[field]})
    with pytest.raises(LogError) as refused:
        open_log(path)
    assert f"several columns that may hold {field}, {one} and {two}; say which with --map {field}={one}" in str(
        refused.value
    )
    assert f"; in the first row {one} is " in str(refused.value)
    assert len(read_log(open_log(path, LogOptions({field: two})))) == 1


def test_of_a_day_and_the_time_of_the_same_day_the_time_is_taken(tmp_path):
    at_us = (MORNING_MS + 1) * 1000
    for day in ("20231114", "2023-11-14", "14.11.2023"):
        path = log_of(tmp_path, {"timestamp_ms": "event_timestamp"}, event_date=day)
        path.write_text(path.read_text().replace(str(MORNING_MS), str(at_us)))
        log = open_log(path)
        assert read_log(log).times_ms.tolist() == [MORNING_MS + 1]
        assert "timestamp_ms is event_timestamp; --map says otherwise" in log.notes[0]


def test_a_day_far_from_the_time_is_another_time_and_asked_for(tmp_path):
    path = log_of(tmp_path, {"timestamp_ms": "created_at"}, order_date="2023-11-01")
    with pytest.raises(LogError, match="several columns that may hold timestamp_ms, created_at and order_date"):
        open_log(path)


def test_a_column_that_is_empty_in_all_first_rows_fits_no_field(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(
        f'{{"user_id":"u1","book_id":"b1","action":"read","started_at":"","read_at":null,"date_added":{MORNING_MS}}}\n'
    )
    assert read_log(open_log(path)).times_ms.tolist() == [MORNING_MS]


def test_a_column_that_is_mapped_to_one_field_is_not_guessed_for_another(tmp_path):
    path = log_of(tmp_path, {"item_id": "sku", "action": ""}, event="view", type="view")
    log = read_log(open_log(path, LogOptions({"action": "event", "surface": "type"})))
    assert log.vocabulary.surfaces == ("view",)


def test_a_person_counts_more_than_their_session(tmp_path):
    path = log_of(tmp_path, {"user_id": "customer"}, user_session="s9")
    assert read_log(open_log(path)).user_ids.tolist() == ["u1"]


def test_an_id_counts_more_than_what_the_item_is_called(tmp_path):
    path = log_of(tmp_path, {"item_id": "sku"}, product_name="lamp", description="a lamp")
    assert read_log(open_log(path)).item_ids.tolist() == ["i1"]


def test_a_time_of_the_row_counts_more_than_those_of_other_deeds(tmp_path):
    path = log_of(tmp_path, {"timestamp_ms": "timestamp"}, review_date="2020-01-01", post_time=5)
    assert read_log(open_log(path)).times_ms.tolist() == [MORNING_MS]


def test_what_is_called_an_event_counts_more_than_its_type(tmp_path):
    path = log_of(tmp_path, {"action": "event"}, type="track")
    assert read_log(open_log(path)).vocabulary.actions == ("view",)


@pytest.mark.parametrize(
    ("deed", "record"),
    [
        ("click_timestamp", "date_added"),
        ("viewed_at", "created_at"),
        ("order_date", "created_at_ms"),
        ("played_at", "start_time"),
    ],
)
def test_what_a_user_did_is_the_time_rather_than_when_a_record_was_made(deed, record, tmp_path):
    for names in ([deed, record], [record, deed]):
        rows = [ROW | {deed: "2023-11-14 22:13:20", record: "2019-01-01 01:00:00"}] * 2
        rows = [{name: row[name] for name in ("user_id", "item_id", "action", *names)} for row in rows]
        log = open_log(write_log(tmp_path / "log.csv", rows))
        assert read_log(log).times_ms.tolist() == [1_700_000_000_000] * 2
        assert f"timestamp_ms is {deed}; --map says otherwise" in log.notes[0]


@pytest.mark.parametrize("deed", ["2023-11-14", ""])
def test_a_day_alone_or_now_and_then_nothing_decides_nothing(deed, tmp_path):
    rows = [{"user_id": 1, "item_id": 2, "action": "buy", "order_date": at, "created_at": MORNING_MS + 10**9}
            for at in ("2023-11-14", deed)]  # fmt: skip
    with pytest.raises(LogError, match="several columns that may hold timestamp_ms, created_at and order_date"):
        open_log(write_log(tmp_path / "log.csv", rows))


@pytest.mark.parametrize("of_whom", ["item_id", "user_id"])
def test_a_time_that_is_always_the_same_of_an_item_or_a_user_is_theirs(of_whom, tmp_path):
    rows = [{"user_id": n // 2, "item_id": n // 2, "action": "view", "time": MORNING_MS + n, "date": MORNING_MS}
            for n in range(20)]  # fmt: skip
    rows = [row | {"date": MORNING_MS - 10**9 * (row[of_whom] + 1)} for row in rows]
    log = open_log(write_log(tmp_path / "log.csv", rows))
    assert read_log(log).times_ms.tolist() == [row["time"] for row in rows]
    with pytest.raises(LogError, match="several columns that may hold timestamp_ms, time and date"):
        open_log(write_log(tmp_path / "log.csv", rows[:9]))


@pytest.mark.parametrize("local", ["2023-11-15 06:13:20", "2023-11-14 22:13:20.5", "20231115", "2023-11-14"])
def test_the_instant_is_taken_where_another_column_writes_it_by_the_clock_of_a_zone(local, tmp_path):
    for at in (1_700_000_000.5, "2023-11-14T22:13:20.500Z"):
        row = {"user_id": 1, "item_id": 2, "action": "view", "time": local, "timestamp": at, "date": local[:10]}
        log = open_log(write_log(tmp_path / "log.csv", [row, row]))
        assert read_log(log).times_ms.tolist() == [1_700_000_000_500] * 2
        assert "timestamp_ms is timestamp; --map says otherwise" in log.notes[0]


@pytest.mark.parametrize("local", ["2023-11-15 06:20:20", "2023-11-16 22:13:20", "20231118"])
def test_what_is_no_zone_away_is_another_time(local, tmp_path):
    row = {"user_id": 1, "item_id": 2, "action": "view", "time": local, "timestamp": 1_700_000_000}
    with pytest.raises(LogError, match="timestamp and time; say which with --map timestamp_ms=timestamp"):
        open_log(write_log(tmp_path / "log.csv", [row, row]))


def test_neither_price_nor_quantity_is_guessed_to_be_the_value(tmp_path):
    path = log_of(tmp_path, {}, price=3.5, quantity=2)
    assert read_log(open_log(path)).values is None
    assert read_log(open_log(path, LogOptions({"value": "price"}))).values.tolist() == [3.5]


def test_a_log_without_an_action_says_how_all_rows_get_one(tmp_path):
    path = log_of(tmp_path, {"action": ""}, price=2)
    with pytest.raises(LogError) as refused:
        open_log(path)
    assert (
        "has no column action; it has user_id, item_id, timestamp_ms, price; name it with --map action=COLUMN, or, "
        in (words := str(refused.value))
    )
    assert words.endswith("if all rows are of one kind, say which with --set action=view")
    assert read_log(open_log(path, LogOptions(constants={"action": "view"}))).vocabulary.actions == ("view",)


def test_ratings_of_a_file_of_ones_own_become_actions_only_where_it_is_said(tmp_path):
    path = log_of(tmp_path, {"user_id": "customer", "action": ""}, stars=4)
    with pytest.raises(LogError, match="if stars holds 1 to 5 stars, --format movielens makes actions of them"):
        open_log(path)
    log = read_log(open_log(path, LogOptions(kind="movielens")))
    assert log.vocabulary.actions[log.actions[0] - 1] == "click"
    assert log.times_ms.tolist() == [MORNING_MS]


def test_json_lines_are_told_by_the_keys_of_the_first_ones(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"customer": "u1", "sku": "i1", "event": "view", "ts": {MORNING_MS}}}\n')
    log = open_log(path)
    assert read_log(log).item_ids.tolist() == ["i1"]
    assert "user_id is customer, item_id is sku, action is event, timestamp_ms is ts" in log.notes[0]


def test_no_name_is_of_two_fields():
    for one, other in combinations(SYNONYMS, 2):
        assert not set().union(*SYNONYMS[one]) & set().union(*SYNONYMS[other])
    assert all(plain_name(name) == name for sets in SYNONYMS.values() for names in sets for name in names)
