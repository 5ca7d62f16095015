"""Dumps of topics as logs: what users did, and the feeds that they were shown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from rankstream.events.action_event import ActionEvent, Recorded
from rankstream.events.arrivals import LogError, arrivals_of
from rankstream.events.dumps import write_dump
from rankstream.events.impression_event import MAX_LIST_ITEMS, ImpressionEvent, impression_events
from rankstream.events.impressions import NO_LIST, followed_by
from rankstream.events.open import FileLog, LogOptions, open_log
from rankstream.events.readers.json_lines import BATCH_ROWS
from rankstream.events.registry import read_log
from rankstream.events.skipped import Skipped
from rankstream.features.ids import Id, id_bytes, id_key
from rankstream.ranking.request import FeedItem
from rankstream.streams.codec import FeedError, RankedFeed, encode_error
from rankstream.streams.records import recorded_actions
from tests.builders.actions import MORNING_MS, VOCABULARY
from tests.builders.impressions import as_text
from tests.builders.logs import same, some_events, whole, write_log
from tests.builders.models import START_MS

SECOND_MS, MINUTE_MS = 1000, 60_000


def a_feed(request: Id, user: Id, items: Sequence[Id], at_ms: int = START_MS) -> RankedFeed:
    return RankedFeed(request, user, at_ms, [FeedItem(item, 1.0, {"click": 0.5}) for item in items], "model-1")


def feeds_file(path: Path, *feeds: RankedFeed) -> Path:
    """Dump the topic ranked-feeds."""
    values = [(feed, msgspec.json.encode(feed)) for feed in feeds]
    records = [
        Recorded("ranked-feeds", n % 2, n // 2, feed.ranked_at_ms + 3, id_bytes(feed.user_id), value)
        for n, (feed, value) in enumerate(values)
    ]
    write_dump(path, records)
    return path


def actions_file(path: Path, *events: ActionEvent) -> Path:
    """Dump the topic user-actions."""
    write_dump(path, recorded_actions(events))
    return path


def a_click(user: Id, item: Id, at_ms: int, list_id: Id | None = None) -> ActionEvent:
    return ActionEvent(user, item, "click", at_ms, list_id=list_id)


def with_feeds(folder: Path, *feeds: RankedFeed) -> FileLog:
    """A log of one click, and dumped feeds beside it."""
    log = actions_file(folder / "user-actions.jsonl", a_click("u", "a", START_MS + MINUTE_MS))
    return open_log(log, LogOptions(impressions=feeds_file(folder / "ranked-feeds.jsonl", *feeds)))


def test_dumped_actions_are_what_a_worker_decodes(tmp_path):
    events = some_events()
    log = open_log(actions_file(tmp_path / "user-actions.jsonl", *events))
    records = sorted(recorded_actions(events), key=lambda record: record.timestamp)
    assert log.vocabulary.actions == ("click", "hide", "save", "view")
    assert same(whole(log), arrivals_of(records, VOCABULARY, Skipped()).numbered(0))
    assert not log.skipped


def test_partitions_of_a_dump_are_replayed_in_the_order_of_their_records(tmp_path):
    records = recorded_actions([a_click("u", n, START_MS + at) for n, at in ((1, 5), (2, 9), (3, 0), (4, 7))])
    write_dump(tmp_path / "actions.jsonl", records)
    assert whole(open_log(tmp_path / "actions.jsonl")).item_ids == [3, 1, 4, 2]


def test_feeds_are_lists_in_their_order_shown_when_they_were_ranked(tmp_path):
    feeds = [a_feed("r2", "v", [7], START_MS + MINUTE_MS), a_feed("r1", "u", ["c", "a", "b"])]
    lists = read_log(with_feeds(tmp_path, *feeds)).impressions
    assert as_text(lists) == [("u", 0, "c a b"), ("v", 1, "7")]
    assert lists.list_keys.tolist() == [id_key("r1"), id_key("r2")]
    assert lists.positions.tolist() == [0, 1, 2, 0]


def test_a_feed_is_the_same_list_as_its_rows_in_a_file(tmp_path):
    feeds = [a_feed("r1", "u", ["a", "b"]), a_feed("r1", "v", ["b"]), a_feed("r2", "u", ["b", "a"], START_MS + 5)]
    feeds[1:] = [replace(feed, surface=name) for feed, name in zip(feeds[1:], ("search", "home"), strict=True)]
    surfaces = [None if feed.surface is UNSET else feed.surface for feed in feeds]
    rows = [
        {"user_id": feed.user_id, "item_id": item.item_id, "timestamp_ms": feed.ranked_at_ms,
         "list_id": feed.request_id, "position": position, "surface": surface}
        for feed, surface in zip(feeds, surfaces, strict=True) for position, item in enumerate(feed.items)
    ]  # fmt: skip
    dumped = with_feeds(tmp_path, *feeds)
    in_rows = open_log(dumped.path, LogOptions(impressions=write_log(tmp_path / "shown.csv", rows)))
    found, wanted = read_log(dumped).impressions, read_log(in_rows).impressions
    for name in ("user_ids", "times_ms", "list_keys", "surfaces", "starts", "item_ids", "positions", "shown_ms"):
        assert getattr(found, name).tolist() == getattr(wanted, name).tolist(), name
    assert read_log(dumped).vocabulary.surfaces == ("home", "search")
    assert found.surfaces.tolist() == [0, 2, 1]


def test_a_surface_of_a_feed_that_the_vocabulary_lacks_is_none_and_counted(tmp_path):
    log = with_feeds(tmp_path, replace(a_feed("r1", "u", ["a", "b"]), surface="attic"))
    assert log.impressions(VOCABULARY).surfaces.tolist() == [0]
    (kind,) = log.shown_in.skipped.ignored
    assert kind == "surface: not in the vocabulary, read as none"


def test_errors_showed_nothing_and_a_feed_that_came_twice_was_shown_once(tmp_path):
    error = RankedFeed("r2", "u", START_MS, error=FeedError("deadline-passed", "too late"))
    feed, none = a_feed("r1", "u", ["a", "b"]), a_feed("r3", "u", [])
    log = with_feeds(tmp_path, feed, error, feed, none)
    assert as_text(read_log(log).impressions) == [("u", 0, "a b")]
    ignored = {kind: one.example for kind, one in log.shown_in.skipped.ignored.items()}
    assert ignored == {
        "an answer with an error, which showed nothing": "request r2: deadline-passed",
        "a list that came again": "list r1",
        "a feed without items": "request r3: no items",
    }
    assert not log.shown_in.skipped


def test_nothing_but_errors_is_no_file_of_impressions(tmp_path):
    log = actions_file(tmp_path / "user-actions.jsonl", a_click("u", "a", START_MS))
    error = Recorded("ranked-feeds", 0, 0, START_MS, b"u", encode_error("r", "u", "deadline-passed", "late", START_MS))
    write_dump(tmp_path / "feeds.jsonl", [error])
    with pytest.raises(
        LogError, match=r"feeds\.jsonl shows nothing; it holds records left out: 1 for being an answer with an error"
    ):
        read_log(open_log(log, LogOptions(impressions=tmp_path / "feeds.jsonl")))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"user_id": None}, "schema: user_id is wrong"),
        ({"items": [{"score": 1.0}]}, "schema: no item_id"),
        ({"items": [{"item_id": ""}]}, "schema: items is wrong"),
        ({"ranked_at_ms": START_MS // 1000}, "timestamp"),
        ({"ranked_at_ms": START_MS + 90_000_000}, "timestamp"),
        ({"user_id": "somebody else"}, "key-mismatch"),
    ],
)
def test_feeds_that_can_not_be_read_are_counted(change: dict[str, Any], kind: str, tmp_path):
    log = with_feeds(tmp_path, a_feed("r1", "u", ["a", "b"]), a_feed("r2", "u", ["a"]))
    path = tmp_path / "ranked-feeds.jsonl"
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    second["value"] |= change
    path.write_text("\n".join(map(json.dumps, (first, second))) + "\nno line\n")
    assert as_text(read_log(log).impressions) == [("u", 0, "a b")]
    assert log.shown_in.skipped.by_kind() == {kind: 1, "schema: no record of a dump": 1}
    assert "line 2" in log.shown_in.skipped.rows[kind].where


def test_feeds_as_they_are_watched_are_lists_too(tmp_path):
    log = actions_file(tmp_path / "user-actions.jsonl", a_click("u", "a", START_MS))
    lines = [msgspec.json.encode(a_feed(f"r{n}", "u", ["b", "a"], START_MS + n * MINUTE_MS)) for n in range(2)]
    (tmp_path / "feeds.jsonl").write_bytes(b"\n".join(lines))
    lists = read_log(open_log(log, LogOptions(impressions=tmp_path / "feeds.jsonl"))).impressions
    assert as_text(lists) == [("u", 0, "b a"), ("u", 1, "b a")]


def test_one_folder_of_dumps_is_the_log_and_what_was_shown(tmp_path):
    with_feeds(tmp_path, a_feed("r1", "u", ["a", "b"]))
    write_dump(tmp_path / "ranking-requests.jsonl", [Recorded("t", 0, 0, START_MS, b"u", b'{"request_id": "r1"}')])
    log = open_log(tmp_path, LogOptions(impressions=tmp_path))
    assert [file.path.name for file in log.files] == ["user-actions.jsonl"]
    assert [file.path.name for file in log.shown_in.files] == ["ranked-feeds.jsonl"]
    assert "not read, as they are no log of this kind: ranked-feeds.jsonl, ranking-requests.jsonl" in log.notes[0]


def test_an_action_may_name_the_feed_that_it_answers(tmp_path):
    """Both feeds showed it, the second one was the newest, and the third action is too late for any."""
    later_ms = START_MS + MINUTE_MS
    feeds = [a_feed("r1", "u", ["a", "b"]), a_feed("r2", "u", ["b", "a"], later_ms)]
    clicks = [
        a_click("u", "a", later_ms + 1, list_id="r1"), a_click("u", "a", later_ms + 2),
        a_click("u", "b", later_ms + 31 * MINUTE_MS),
    ]  # fmt: skip
    with_feeds(tmp_path, *feeds)
    actions_file(tmp_path / "user-actions.jsonl", *clicks)
    log = read_log(open_log(tmp_path / "user-actions.jsonl", LogOptions(impressions=tmp_path / "ranked-feeds.jsonl")))
    assert log.list_keys.tolist() == [id_key("r1"), NO_LIST, NO_LIST]
    rows, acted = followed_by(log.impressions, log.acts)
    assert dict(zip(acted.tolist(), rows.tolist(), strict=True)) == {0: 0, 1: 3}


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.jsonl"])
def test_a_log_of_any_kind_may_name_the_list_of_an_action(name: str, tmp_path):
    rows = [
        {"user_id": "u", "item_id": "a", "action": "click", "timestamp_ms": MORNING_MS + n, "list_id": one}
        for n, one in enumerate(["r1", None, "r2"])
    ]
    arrivals = whole(open_log(write_log(tmp_path / name, rows)))
    assert arrivals.list_ids == ["r1", None, "r2"]
    without = whole(open_log(write_log(tmp_path / f"no-{name}", [{**row, "list_id": None} for row in rows])))
    assert without.packed == arrivals.packed  # it is not kept in the state


def test_a_column_that_is_only_called_like_a_list_is_none_where_nothing_says_what_was_shown(tmp_path):
    rows = [{"user_id": "u", "item_id": "a", "action": "click", "timestamp_ms": MORNING_MS, "search_id": "s"}]
    log = open_log(write_log(tmp_path / "log.csv", rows))
    assert whole(log).list_ids == [None]
    assert not log.notes


# The topic impressions ------------------------------------------------------------------------------------------------


def a_list(
    list_id: Id, user: Id, items: Sequence[Id], minutes: float = 0, surface: str | None = None
) -> ImpressionEvent:
    return ImpressionEvent(list_id, user, tuple(items), START_MS + round(minutes * MINUTE_MS), surface)


def lists_file(path: Path, *events: ImpressionEvent) -> Path:
    """Dump the topic impressions."""
    records = [
        Recorded("impressions", 0, n, one.timestamp_ms, id_bytes(one.user_id), msgspec.json.encode(one))
        for n, one in enumerate(events)
    ]
    write_dump(path, records)
    return path


def with_lists(folder: Path, *events: ImpressionEvent) -> FileLog:
    log = actions_file(folder / "user-actions.jsonl", a_click("u", "a", START_MS + MINUTE_MS))
    return open_log(log, LogOptions(impressions=lists_file(folder / "impressions.jsonl", *events)))


def test_lists_of_the_topic_impressions_have_their_order_and_their_surface(tmp_path):
    log = with_lists(tmp_path, a_list("p2", "v", ["b"], 1, "home"), a_list("p1", "u", ["c", "a"]))
    lists = read_log(log).impressions
    assert as_text(lists) == [("u", 0, "c a"), ("v", 1, "b")]
    assert log.vocabulary.surfaces == ("home",)
    assert lists.surfaces.tolist() == [0, 1]
    assert lists.list_keys.tolist() == [id_key("p1"), id_key("p2")]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"list_id": None}, "schema: list_id is wrong"),
        ({"item_ids": []}, "schema: item_ids is wrong"),
        ({"item_ids": list(range(MAX_LIST_ITEMS + 1))}, "schema: item_ids is wrong"),
        ({"item_ids": [1.5]}, "schema: item_ids is wrong"),
        ({"surface": "x" * 65}, "schema: surface is wrong"),
        ({"timestamp_ms": START_MS // 1000}, "timestamp"),
        ({"user_id": "somebody else"}, "key-mismatch"),
    ],
)
def test_lists_that_can_not_be_read_are_counted(change: dict[str, Any], kind: str, tmp_path):
    log = with_lists(tmp_path, a_list("p1", "u", ["a", "b"]), a_list("p2", "u", ["a"]))
    path = tmp_path / "impressions.jsonl"
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    second["value"] |= change
    path.write_text("\n".join(map(json.dumps, (first, second))))
    assert as_text(read_log(log).impressions) == [("u", 0, "a b")]
    assert log.shown_in.skipped.by_kind() == {kind: 1}


def test_lists_may_be_written_without_what_a_dump_adds(tmp_path):
    log = actions_file(tmp_path / "user-actions.jsonl", a_click("u", "a", START_MS))
    (tmp_path / "shown.jsonl").write_bytes(msgspec.json.encode(a_list("p1", "u", ["b", "a"])) + b"\n")
    assert as_text(read_log(open_log(log, LogOptions(impressions=tmp_path / "shown.jsonl"))).impressions) == [
        ("u", 0, "b a")
    ]


def test_feeds_and_impressions_of_one_folder_are_not_both_what_was_shown(tmp_path):
    with_feeds(tmp_path, a_feed("r1", "u", ["a", "b"]))
    with_lists(tmp_path, a_list("r1", "u", ["a"]))
    with pytest.raises(LogError, match=r"impressions\.jsonl and ranked-feeds\.jsonl both say what was shown; give one"):
        open_log(tmp_path, LogOptions(impressions=tmp_path))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", 7]), st.sampled_from(["a", "b", 3]), st.integers(0, 90),
        st.sampled_from([None, "p1", 5]), st.integers(-1, 3),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@given(rows=ROWS)
def test_rows_that_are_sent_as_lists_are_the_same_lists_when_they_are_read_again(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    log = actions_file(folder / "user-actions.jsonl", a_click("u", "a", START_MS))
    names = ("user_id", "item_id", "timestamp_ms", "list_id", "position")
    given = [dict(zip(names, (*row[:2], START_MS + row[2] * MINUTE_MS, *row[3:]), strict=True)) for row in rows]
    beside = write_log(folder / "shown.jsonl", [{**row, "position": max(row["position"], 0)} for row in given])
    opened = open_log(log, LogOptions(impressions=beside))
    events = impression_events(opened.shown_batches(opened.vocabulary), opened.vocabulary).events
    again = open_log(log, LogOptions(impressions=lists_file(folder / "impressions.jsonl", *events)))
    found, wanted = again.impressions(again.vocabulary), opened.impressions(opened.vocabulary)
    assert sorted(as_text(found)) == sorted(as_text(wanted))
    named = set(zip(wanted.user_keys.tolist(), wanted.list_keys.tolist(), strict=True))
    assert {one for one in named if one[1] != NO_LIST} <= set(
        zip(found.user_keys.tolist(), found.list_keys.tolist(), strict=True)
    )
    assert len({(one.user_id, one.list_id) for one in events}) == len(events)


def test_lists_of_one_time_without_positions_have_no_order(tmp_path):
    log = actions_file(tmp_path / "user-actions.jsonl", a_click("u", "a", START_MS))
    row = {"user_id": "u", "item_id": "a", "timestamp_ms": START_MS, "list_id": "placed", "position": 0}
    placed = [row, {**row, "item_id": "b", "position": 1}]
    alone = {**row, "list_id": "alone", "position": None}
    later = {**row, "list_id": "one by one", "position": None}
    one_by_one = [later, {**later, "item_id": "b", "timestamp_ms": START_MS + 1}]
    at_once = [{**row, "list_id": "at once", "position": None, "item_id": item} for item in "ab"]
    beside = write_log(tmp_path / "shown.csv", [*placed, alone, *one_by_one, *at_once])
    opened = open_log(log, LogOptions(impressions=beside))
    lists = impression_events(opened.shown_batches(opened.vocabulary), opened.vocabulary)
    assert (len(lists.events), lists.unordered) == (4, 1)


def test_a_list_of_more_items_than_a_record_names_is_refused(tmp_path):
    log = actions_file(tmp_path / "user-actions.jsonl", a_click("u", "a", START_MS))
    rows = [{"user_id": "u", "item_id": n, "timestamp_ms": START_MS} for n in range(MAX_LIST_ITEMS + 1)]
    opened = open_log(log, LogOptions(impressions=write_log(tmp_path / "shown.csv", rows)))
    with pytest.raises(LogError, match=r"user u was shown 5,001 items in one list; a record names at most 5,000"):
        impression_events(opened.shown_batches(opened.vocabulary), opened.vocabulary)


# Odd files ------------------------------------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_lists_are_whole_however_many_are_read_at_once(sizes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("feeds")
    feeds = [a_feed(n, n, list(range(size)), START_MS + n * MINUTE_MS) for n, size in enumerate(sizes)]
    log = with_feeds(folder, *feeds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rankstream.events.readers.shown_lists.BATCH_ROWS", 3)
        lists = read_log(log).impressions
    assert BATCH_ROWS > 3
    assert as_text(lists) == [(n, n, " ".join(map(str, range(size)))) for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("log", "shown", "words"),
    [
        ("ranked-feeds", None, "holds records of ranked-feeds; a log is made of user-actions, and what was shown is"),
        ("ranking-requests", None, "holds records of another topic; a log is made of user-actions"),
        (
            "user-actions",
            "user-actions",
            "holds records of user-actions; impressions are in ranked-feeds or impressions",
        ),
        ("user-actions", "ranking-requests", "holds records of another topic; impressions are in ranked-feeds or"),
    ],
)
def test_records_of_the_wrong_topic_are_refused(log: str, shown: str | None, words: str, tmp_path):
    with_feeds(tmp_path, a_feed("r1", "u", ["a", "b"]))
    write_dump(tmp_path / "ranking-requests.jsonl", [Recorded("t", 0, 0, START_MS, b"u", b'{"request_id": "r1"}')])
    options = LogOptions(impressions=None if shown is None else tmp_path / f"{shown}.jsonl")
    with pytest.raises(LogError, match=words):
        open_log(tmp_path / f"{log}.jsonl", options)


def test_flags_that_name_columns_are_refused_for_records(tmp_path):
    actions_file(tmp_path / "user-actions.jsonl", a_click("u", "a", START_MS))
    with pytest.raises(LogError, match="whose fields have names; leave out --map and --set"):
        open_log(tmp_path / "user-actions.jsonl", LogOptions(columns={"user_id": "kunde"}))


def test_records_beside_rows_are_not_one_log(tmp_path):
    actions_file(tmp_path / "a.jsonl", a_click("u", "a", START_MS))
    write_log(tmp_path / "b.csv", [{"user_id": "u", "item_id": 1, "action": "click", "timestamp_ms": START_MS}])
    with pytest.raises(LogError, match=r"a\.jsonl holds records of a topic, and .*b\.csv is a log of its own"):
        open_log(tmp_path)
