"""Which items are in which boards, read from files of rows and from catalogues."""

import json

import pytest
from msgspec.json import encode

from rankstream.events.action_event import ActionEvent, Recorded
from rankstream.events.arrivals import LogError
from rankstream.events.dumps import write_dump
from rankstream.features.ids import id_keys
from rankstream.graph.membership_options import Edge, MembershipOptions
from rankstream.graph.memberships import collections_of, joined, read_memberships
from tests.builders.actions import MORNING_MS
from tests.builders.catalogue import a_catalogue, an_item

LATE_MS = 4_000_000_000_000


def the_file(folder, *lines, heading="board,item_id"):
    path = folder / "rows.csv"
    path.write_text("\n".join((heading, *lines)) + "\n")
    return path


def test_a_row_is_a_pair_and_columns_may_have_other_names(tmp_path):
    options = MembershipOptions({"board": "basket", "item_id": "sku"})
    found = read_memberships(the_file(tmp_path, "b1,7", "b2,tea", heading="basket,sku"), options, LATE_MS)
    assert found.pairs.boards.tolist() == id_keys(["b1", "b2"]).tolist()
    assert found.pairs.items.tolist() == id_keys(["7", "tea"]).tolist()


ACTIONS = ("save,tea,7,7", "view,tea,,7", "save,milk,,7", "hide,rice,7,7", "view,milk,,7")


def test_each_action_tells_of_its_own_boards_and_those_of_two_columns_stay_apart(tmp_path):
    path = the_file(tmp_path, *ACTIONS, heading="action,item_id,list,visit")
    found = read_memberships(path, MembershipOptions(edges=(Edge("save", "list"), Edge("view", "visit"))), LATE_MS)
    assert found.pairs.items.tolist() == id_keys(["tea", "tea", "milk"]).tolist()
    of_list, *of_visit = found.pairs.boards.tolist()
    assert of_visit[0] == of_visit[1] != of_list
    assert (found.rows, found.unboarded, found.skipped.total()) == (5, 2, 0)


def test_edges_weigh_by_their_action_and_half_as_much_after_each_half_life(tmp_path):
    lines = ["save,7,a,2024-03-01", "view,7,a,2024-03-03", "save,8,a,2024-03-03"]
    path = the_file(tmp_path, *lines, heading="action,item_id,list,timestamp_ms")
    edges, day_ms = (Edge("save", "list", 3.0), Edge("view", "list")), 86_400_000
    as_of_ms = 1_709_424_000_000  # 2024-03-03
    plain = MembershipOptions(edges=(Edge("save", "list"), Edge("view", "list")))
    assert read_memberships(path, plain, as_of_ms).pairs.weights is None
    weighed = read_memberships(path, MembershipOptions(edges=edges), as_of_ms).pairs
    assert weighed.weights.tolist() == [3, 1, 3]
    aged = read_memberships(path, MembershipOptions(edges=edges, half_life_ms=day_ms), as_of_ms).pairs
    assert aged.weights.tolist() == [0.75, 1, 3]
    long_ago = read_memberships(path, MembershipOptions(edges=edges, half_life_ms=1), as_of_ms).pairs
    assert (long_ago.weights > 0).all()
    assert joined([aged, plain_pairs := collections_of(a_shelf())]).weights.tolist() == [0.75, 1, 3, 1, 1]
    assert joined([plain_pairs]).weights is None


def a_shelf():
    return a_catalogue(an_item("tea", collections=("hot",)), an_item("milk", collections=("hot",)))


def test_a_half_life_without_times_and_an_edge_that_weighs_nothing_are_one_sentence(tmp_path):
    path = the_file(tmp_path, "b1,7")
    with pytest.raises(LogError, match="--map timestamp_ms=COLUMN"):
        read_memberships(path, MembershipOptions(half_life_ms=1), LATE_MS)
    with pytest.raises(LogError, match=r"edges of save weigh 0.0; wanted more than 0"):
        read_memberships(path, MembershipOptions(edges=(Edge("save", "list", 0.0),)), LATE_MS)


def test_the_dumped_topic_of_actions_is_a_log_whose_collections_are_boards(tmp_path):
    events = [ActionEvent("u1", item, "save", MORNING_MS + at, collection_id=name)
              for at, (item, name) in enumerate([(7, "c1"), ("tea", "c1"), (8, None)])]  # fmt: skip
    records = [Recorded("user-actions", 0, at, MORNING_MS + at, b"u1", encode(one)) for at, one in enumerate(events)]
    write_dump(tmp_path / "user-actions.jsonl", records)
    options = MembershipOptions(edges=(Edge("save", "collection_id"),))
    found = read_memberships(tmp_path / "user-actions.jsonl", options, LATE_MS)
    assert found.pairs.items.tolist() == id_keys([7, "tea"]).tolist()
    assert (len(set(found.pairs.boards.tolist())), found.unboarded, found.skipped.total()) == (1, 1, 0)
    assert read_memberships(tmp_path / "user-actions.jsonl", options, MORNING_MS).later == 2


def test_what_a_user_did_up_to_an_erasure_is_left_out_wherever_it_stands(tmp_path):
    rows = [{"user_id": user, "action": "save", "item_id": 7, "list": "a", "timestamp_ms": MORNING_MS + at}
            for user, at in (("u1", 0), ("u1", 2), ("u2", 0))]  # fmt: skip
    erasure = {"user_id": "u1", "action": "forget", "timestamp_ms": MORNING_MS + 1}
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, [rows[0], erasure, *rows[1:]])))
    options = MembershipOptions(edges=(Edge("save", "list"),))
    found = read_memberships(path, options, LATE_MS)
    assert (len(found.pairs), found.forgotten, found.skipped.total()) == (2, 1, 0)
    assert len(read_memberships(path, options, MORNING_MS).pairs) == 1  # also as of a time before it


def test_rows_after_the_as_of_time_are_left_out_and_counted_and_the_newest_come_last(tmp_path):
    lines = ["b1,8,2024-03-03", "b1,7,2024-03-01", "b1,6,2024-02-01"]
    path = the_file(tmp_path, *lines, heading="board,item_id,timestamp_ms")
    found = read_memberships(path, MembershipOptions(), as_of_ms=1_709_337_600_000)  # of 2024-03-02
    assert (found.pairs.items.tolist(), found.rows, found.later) == (id_keys(["6", "7"]).tolist(), 3, 1)


def test_a_row_without_an_id_is_skipped_and_counted_by_its_reason(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"board": "b1", "item_id": 7}, {"board": "b1"}, {"board": "b1", "item_id": 8}]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_memberships(path, MembershipOptions(), LATE_MS)
    assert (len(found.pairs), found.skipped.total()) == (2, 1)
    assert "no id" in next(iter(dict(found.skipped.most_common())))


@pytest.mark.parametrize(
    ("heading", "columns", "words"),
    [
        ("basket,item_id", {}, "has no column board; it has basket, item_id; name .* --map board=COLUMN"),
        (
            "board,item_id",
            {"shelf": "x"},
            "shelf is no field of a membership; it has board, item_id, timestamp_ms, action, user_id",
        ),
        ("board,item_id", {"timestamp_ms": "at"}, "has no column at"),
    ],
)
def test_columns_that_are_not_there_are_one_sentence(tmp_path, heading, columns, words):
    with pytest.raises(LogError, match=words):
        read_memberships(the_file(tmp_path, "b1,7", heading=heading), MembershipOptions(columns), LATE_MS)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_an_empty_file_is_told_so(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(LogError, match="is empty: it has no rows, and no columns; give another file"):
        read_memberships(tmp_path / name, MembershipOptions(), LATE_MS)


def test_edges_without_their_columns_are_one_sentence(tmp_path):
    path = the_file(tmp_path, *ACTIONS, heading="kind,item_id,list,visit")
    for edge, words in ((Edge("save", "shelf"), "no column shelf"), (Edge("save", "list"), "--map action=COLUMN")):
        with pytest.raises(LogError, match=words):
            read_memberships(path, MembershipOptions(edges=(edge,)), LATE_MS)
    with pytest.raises(LogError, match="leave out --map board, or --edges"):
        read_memberships(path, MembershipOptions({"board": "list"}, edges=(Edge("save", "list"),)), LATE_MS)


def test_a_file_of_which_most_rows_can_not_be_read_is_refused(tmp_path):
    with pytest.raises(LogError, match="no id"):
        read_memberships(the_file(tmp_path, "b1,7", ",8", ",9"), MembershipOptions(), LATE_MS)


def test_the_collections_of_a_catalogue_are_boards_and_those_of_others_stay_apart():
    catalogue = a_catalogue(an_item("tea", collections=("hot", "dry")), an_item("milk", collections=("hot",)))
    pairs = collections_of(catalogue)
    assert sorted(pairs.items.tolist()) == sorted(id_keys(["tea", "tea", "milk"]).tolist())
    both = joined([pairs, pairs])
    assert (len(both), len(set(both.boards.tolist())), len(set(both.items.tolist()))) == (6, 4, 2)
    assert len(collections_of(a_catalogue(an_item("tea")))) == 0
