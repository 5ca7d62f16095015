"""What was shown, from any file, as lists; and which of it was acted on."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.arrivals import LogError
from rankstream.events.impressions import NO_LIST, WITHIN_MS, Acts, Impressions, followed_by, impressions_of
from rankstream.events.open import LogOptions, open_log
from rankstream.events.readers.json_lines import Reading
from rankstream.events.readers.plain import PlainReader
from rankstream.events.registry import kind_of, read_log
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import id_key
from tests.builders.actions import MORNING_MS
from tests.builders.impressions import as_text, shown
from tests.builders.logs import same, write_log
from tests.builders.models import MINUTE_MS, START_MS, a_log

SECOND_MS = 1000

# From rows to lists ---------------------------------------------------------------------------------------------------


def test_rows_of_one_list_id_are_a_list_whatever_their_times():
    lists = shown(("u", "a", 0, "r1", 1), ("u", "c", 40, "r1", 3), ("u", "b", 1, "r1", 2), ("v", "d", 1, "r1", 1))
    assert as_text(lists) == [("u", 0, "a b c"), ("v", 1, "d")]
    assert lists.shown_ms.tolist() == [START_MS + at * MINUTE_MS for at in (0, 1, 40, 1)]


def test_without_an_id_rows_of_one_user_and_time_are_a_list_where_most_come_so():
    lists = shown(("u", 2, 0), ("u", 1, 0), ("u", 3, 1), ("u", 4, 1), ("v", 1, 2))
    assert as_text(lists) == [("u", 0, "1 2"), ("u", 1, "3 4"), ("v", 2, "1")]


def test_without_an_id_rows_that_come_one_by_one_are_a_list_until_a_pause():
    lists = shown(("u", "b", 0), ("u", "a", 1), ("u", "c", 32), ("u", "d", 61), ("v", "e", 61))
    assert as_text(lists) == [("u", 0, "b a"), ("u", 32, "c d"), ("v", 61, "e")]


def test_rows_that_come_one_by_one_are_a_new_list_where_positions_begin_again():
    rows = [("u", "a", 0, None, 0), ("u", "b", 1, None, 1), ("u", "c", 2, None, 0), ("u", "d", 3, None, 0)]
    assert as_text(shown(*rows)) == [("u", 0, "a b"), ("u", 2, "c"), ("u", 3, "d")]


def test_what_two_surfaces_show_at_one_time_are_two_lists():
    rows = [("u", "a", 0, None, 1, 1), ("u", "b", 0, None, 2, 1), ("u", "c", 0, None, 1, 2), ("u", "d", 0, None, 2, 2)]
    assert as_text(shown(*rows)) == [("u", 0, "a b"), ("u", 0, "c d")]


def test_an_item_stands_once_in_a_list_where_it_stood_first():
    lists = shown(("u", "a", 0, "r", 3), ("u", "b", 0, "r", 2), ("u", "a", 1, "r", 1))
    assert as_text(lists) == [("u", 0, "a b")]
    assert lists.positions.tolist() == [1, 2]


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u", "v"]), st.sampled_from("abc"), st.integers(0, 90), st.sampled_from([None, "r", 7]),
        st.integers(-1, 3), st.integers(0, 1),
    ),
    max_size=20,
)  # fmt: skip


@given(ROWS, st.randoms())
def test_the_order_of_the_rows_changes_nothing(rows, random):
    other = random.sample(rows, len(rows))
    assert equal(shown(*rows), shown(*other))


@given(ROWS)
def test_lists_are_in_order_of_time_and_hold_every_item_that_was_shown(rows):
    lists = shown(*rows)
    assert np.all(np.diff(lists.times_ms) >= 0)
    users = lists.user_ids[lists.list_of_row]
    assert {(user, item) for user, item, *_ in rows} == set(zip(users.tolist(), lists.item_ids.tolist(), strict=True))
    sizes = np.diff(lists.starts)
    assert all(len(set(lists.item_ids[at : at + size])) == size for at, size in zip(lists.starts, sizes, strict=False))


@given(ROWS, st.integers(0, 91))
def test_splitting_cuts_lists_at_the_time_and_loses_none(rows, minute):
    lists = shown(*rows)
    before, after = lists.split_at(START_MS + minute * MINUTE_MS)
    assert as_text(before) + as_text(after) == as_text(lists)
    assert all(at < minute for _, at, _ in as_text(before))
    assert all(at >= minute for _, at, _ in as_text(after))


def equal(one: Impressions, other: Impressions) -> bool:
    return all(np.array_equal(getattr(one, part.name), getattr(other, part.name)) for part in fields(Impressions))


# What came of them ----------------------------------------------------------------------------------------------------


def acts(*rows) -> Acts:
    """Rows of (user, item, minutes after the start[, list id])."""
    lists = [NO_LIST if len(row) < 4 or row[3] is None else id_key(row[3]) for row in rows]
    users, items = (np.array([id_key(row[at]) for row in rows], np.uint64) for at in (0, 1))
    times_ms = np.array([START_MS + round(row[2] * MINUTE_MS) for row in rows], np.int64)
    return Acts(users, items, times_ms, np.array(lists, np.uint64))


def followed(lists: Impressions, *rows) -> list[tuple[int, str, int]]:
    """(list, item, action) of each pair."""
    found, acted = followed_by(lists, acts(*rows))
    return [
        (int(lists.list_of_row[row]), lists.item_ids[row], at) for row, at in zip(found, acted.tolist(), strict=True)
    ]


def test_an_action_counts_for_the_newest_list_that_showed_the_item_to_its_user():
    lists = shown(("u", "a", 0), ("u", "b", 0), ("u", "a", 5), ("u", "c", 5), ("v", "a", 6), ("v", "b", 6))
    assert followed(lists, ("u", "a", 7), ("u", "b", 7), ("v", "c", 7), ("u", "a", 3)) == [
        (1, "a", 0), (0, "b", 1), (0, "a", 3),
    ]  # fmt: skip


def test_an_action_at_the_time_of_a_list_follows_it_and_one_before_does_not():
    lists = shown(("u", "a", 5), ("u", "b", 5))
    assert followed(lists, ("u", "a", 4.999), ("u", "b", 5)) == [(0, "b", 1)]


def test_an_action_follows_within_half_an_hour_of_its_own_impression():
    lists = shown(("u", "a", 0, "r"), ("u", "b", 20, "r"))
    assert WITHIN_MS == 30 * MINUTE_MS
    assert followed(lists, ("u", "a", 30), ("u", "a", 30.001), ("u", "b", 50), ("u", "b", 51)) == [
        (0, "a", 0), (0, "b", 2),
    ]  # fmt: skip


def test_an_action_that_names_its_list_counts_there_whenever_it_comes():
    lists = shown(("u", "a", 0, "r1"), ("u", "a", 5, "r2"), ("u", "b", 5, "r2"))
    assert followed(lists, ("u", "a", 600, "r1"), ("u", "a", 6, "r9"), ("v", "a", 6, "r1"), ("u", "b", 6, "r1")) == [
        (0, "a", 0), (1, "a", 1), (1, "b", 3),
    ]  # fmt: skip


@given(ROWS, st.lists(st.tuples(st.sampled_from(["u", "v"]), st.sampled_from("abc"), st.integers(0, 120)), max_size=20))
def test_what_followed_is_what_a_plain_search_finds(rows, actions):
    lists = shown(*rows)
    wanted = []
    for at, (user, item, minute) in enumerate(actions):
        at_ms = START_MS + minute * MINUTE_MS
        mine = [row for row in range(len(lists.item_ids)) if lists.item_ids[row] == item
                and lists.user_ids[lists.list_of_row[row]] == user
                and lists.times_ms[lists.list_of_row[row]] <= at_ms]  # fmt: skip
        if mine and at_ms - lists.shown_ms[mine[-1]] <= WITHIN_MS:
            wanted.append((mine[-1], at))
    found = followed_by(lists, acts(*actions)) if actions else ([], [])
    assert list(zip(*map(list, found), strict=True)) == wanted


# From files -----------------------------------------------------------------------------------------------------------

LISTED = [
    {"user_id": "u", "item_id": item, "action": "impression", "timestamp_ms": MORNING_MS + at, "list_id": name,
     "position": position, "surface": "home"}
    for at, name, items in [(0, "r1", "ab"), (60_000, "r2", "cd")]
    for position, item in enumerate(items, start=1)
]  # fmt: skip
LONG = "x" * 300  # more than an id may have
DONE = [
    {"user_id": "u", "item_id": "b", "action": "click", "timestamp_ms": MORNING_MS + 5000, "list_id": None},
    {"user_id": "u", "item_id": "c", "action": "buy", "timestamp_ms": MORNING_MS + 70_000, "list_id": "r2"},
]


def both_ways(folder: Path, ending: str) -> tuple[Path, Path, Path]:
    """One log of both; the actions alone, and the impressions alone."""
    alone = [{name: value for name, value in row.items() if name != "action"} for row in LISTED]
    return (
        write_log(folder / f"both.{ending}", sorted(LISTED + DONE, key=lambda row: row["timestamp_ms"])),
        write_log(folder / f"done.{ending}", DONE),
        write_log(folder / f"shown.{ending}", alone),
    )


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_rows_of_one_log_and_a_file_beside_it_say_the_same(ending, tmp_path):
    both, done, beside = both_ways(tmp_path, ending)
    one = read_log(open_log(both, LogOptions(shown="impression")))
    two = read_log(open_log(done, LogOptions(impressions=beside)))
    assert one.impressions is not None
    assert two.impressions is not None
    assert equal(one.impressions, two.impressions)
    assert [items for _, _, items in as_text(one.impressions)] == ["a b", "c d"]
    assert one.impressions.positions.tolist() == [1, 2, 1, 2]
    for log in (one, two):
        assert [row["action"] for row in log.as_messages()] == ["click", "buy"]
        assert log.vocabulary == Vocabulary(("buy", "click"), ("home",))
        assert followed_by(log.impressions, log.acts)[0].tolist() == [1, 2]


def test_impressions_are_no_actions_wherever_a_log_is_read_batch_by_batch(tmp_path):
    both, done, beside = both_ways(tmp_path, "csv")
    for log in (
        open_log(both, LogOptions(shown="impression", sort=True)),
        open_log(done, LogOptions(impressions=beside)),
    ):
        (arrivals,) = log.batches(Vocabulary(("click", "buy")))
        assert arrivals.item_ids == ["b", "c"]
        assert arrivals.offsets.tolist() == [0, 1]
        assert not log.skipped


def test_a_model_that_knew_impressions_as_actions_is_given_none(tmp_path):
    both, _, _ = both_ways(tmp_path, "csv")
    log = open_log(both, LogOptions(shown="impression"))
    knows = Vocabulary(("impression", "click", "buy"))
    (arrivals,) = log.batches(knows)
    assert arrivals.codes.tolist() == [2, 3]
    assert len(log.impressions(knows)) == 2


def test_columns_of_impressions_are_found_by_their_names_or_named(tmp_path):
    done = write_log(tmp_path / "done.csv", [{"kunde": "u", "sku": "b", "event": "click", "ts": MORNING_MS + 5000}])
    rows = [{"visitor": "u", "sku": one, "time": MORNING_MS, "seite": "r1", "rank": n} for n, one in enumerate("ab")]
    beside = write_log(tmp_path / "shown.csv", rows)
    log = open_log(done, LogOptions(columns={"user_id": "kunde", "list_id": "seite"}, impressions=beside))
    read = read_log(log)
    assert len(read) == 1
    assert len(read.impressions) == 1
    assert read.impressions.positions.tolist() == [0, 1]
    assert read.impressions.list_keys.tolist() == [id_key("r1")]


def test_positions_and_list_ids_of_any_type_are_read_as_their_values_one_by_one(tmp_path):
    columns = {
        "user_id": ["u"] * 8, "item_id": ["a"] * 8, "action": ["shown"] * 8, "timestamp_ms": [MORNING_MS] * 8,
    }  # fmt: skip
    odd = [
        (pa.array([1, None, -1, 2, 3, 4, 5, 6]), pa.array([7.0, None, 8.5, 9.0, 1.0, 1.0, 1.0, 1.0])),
        (pa.array(["1", "", None, "x", "2.0", "2.5", "-1", "3"]), pa.array(["r", "", None, "7", "07", LONG, "a", "b"])),
        (pa.array([1.0, None, 2.5, float("inf"), float("nan"), -3.0, 0.0, 2.0]), pa.array([1, 2, None, 4, 5, 6, 7, 8])),
    ]  # fmt: skip
    vocabulary = Vocabulary(("shown",))
    for positions, lists in odd:
        path = tmp_path / "log.parquet"
        pq.write_table(pa.table(columns | {"position": positions, "list_id": lists, "collection_id": lists}), path)
        (file,) = open_log(path, LogOptions(shown="shown")).files
        shape = replace(file.shape, time_unit="ms")
        fast, plain = (Reading(vocabulary, shape, MORNING_MS, Skipped(), positions=True) for _ in range(2))
        (found,), (wanted,) = file.reader.read(fast), PlainReader(file.layout).read(plain)
        assert same(found, wanted)
        assert found.list_ids == wanted.list_ids == found.collection_ids == wanted.collection_ids
        assert found.positions.tolist() == wanted.positions.tolist()
        assert fast.skipped == plain.skipped


def test_a_log_that_says_what_was_shown_trains_rankers_on_it_and_encoders_on_what_came_before(tmp_path):
    both, done, _ = both_ways(tmp_path, "csv")
    opened = open_log(both, LogOptions(shown="impression"))
    kind = kind_of(opened, read_log(opened))
    assert (kind.exposures, kind.encoders_share) == (True, 0.7)
    late = a_log([("u", n, "save", n) for n in range(10)])
    late = replace(late, impressions=shown(("u", 8, 8.5), ("u", 9, 8.5)))
    assert kind_of(opened, late).encoders_share == 0.9
    assert not kind_of(open_log(done), read_log(open_log(done))).exposures


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shown": "seen"}, "has no action seen, only buy, click, impression; --shown names the action of the rows"),
        (
            {"shown": "impression", "impressions": Path("shown.csv")},
            "--shown and --impressions both say what was shown",
        ),
        ({"columns": {"position": "slot"}}, "position is of impressions; name those with --shown ACTION or"),
        ({"impressions": Path("none.csv")}, "none.csv"),
        ({"shown": "impression", "columns": {"list_id": "nowhere"}}, "has no column nowhere"),
    ],
)
def test_what_can_not_be_read_as_impressions_is_refused(options, words, tmp_path):
    both, _, _ = both_ways(tmp_path, "csv")
    with pytest.raises(LogError, match=words):
        read_log(open_log(both, LogOptions(**options)))


def test_rows_of_a_public_log_are_translated_and_none_is_an_impression(tmp_path):
    path = write_log(tmp_path / "ratings.csv", [{"userId": 1, "movieId": 2, "rating": 5, "timestamp": 1_000_000_000}])
    with pytest.raises(
        LogError, match="is read as movielens, whose rows are translated; --shown names an action of a log"
    ):
        open_log(path, LogOptions(shown="view"))


def test_a_file_of_impressions_of_which_some_can_not_be_read_counts_them_by_itself(tmp_path):
    _, done, beside = both_ways(tmp_path, "csv")
    with beside.open("a") as file:
        file.write(f"u,,{MORNING_MS},r3,1,home\n")
    log = open_log(done, LogOptions(impressions=beside))
    assert len(read_log(log).impressions) == 2
    assert not log.skipped
    assert log.shown_in.skipped.by_kind() == {"schema: no item_id": 1}


def test_nothing_shown_is_no_list():
    nothing = np.zeros(0, np.int64)
    empty = impressions_of(nothing, nothing, nothing, nothing, nothing, np.zeros(0, np.uint64))
    assert len(empty) == len(empty.item_ids) == 0
    assert [len(rows) for rows in followed_by(empty, acts(("u", "a", 1)))] == [0, 0]
