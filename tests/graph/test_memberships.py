"""Which items are in which boards, read from files of rows and from catalogues."""

import json

import pytest

from rankstream.events.arrivals import LogError
from rankstream.features.ids import id_keys
from rankstream.graph.memberships import MembershipOptions, collections_of, joined, read_memberships
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
    found = read_memberships(path, MembershipOptions(edges=(("save", "list"), ("view", "visit"))), LATE_MS)
    assert found.pairs.items.tolist() == id_keys(["tea", "tea", "milk"]).tolist()
    of_list, *of_visit = found.pairs.boards.tolist()
    assert of_visit[0] == of_visit[1] != of_list
    assert (found.rows, found.unboarded, found.skipped.total()) == (5, 2, 0)


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
        ("board,item_id", {"shelf": "x"}, "shelf is no field of a membership; it has board, item_id, timestamp_ms"),
        ("board,item_id", {"timestamp_ms": "at"}, "has no column at"),
    ],
)
def test_columns_that_are_not_there_are_one_sentence(tmp_path, heading, columns, words):
    with pytest.raises(LogError, match=words):
        read_memberships(the_file(tmp_path, "b1,7", heading=heading), MembershipOptions(columns), LATE_MS)


def test_edges_without_their_columns_are_one_sentence(tmp_path):
    path = the_file(tmp_path, *ACTIONS, heading="kind,item_id,list,visit")
    for edge, words in ((("save", "shelf"), "no column shelf"), (("save", "list"), "--map action=COLUMN")):
        with pytest.raises(LogError, match=words):
            read_memberships(path, MembershipOptions(edges=(edge,)), LATE_MS)
    with pytest.raises(LogError, match="leave out --map board, or --edges"):
        read_memberships(path, MembershipOptions({"board": "list"}, edges=(("save", "list"),)), LATE_MS)


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
