"""`rankstream interests`: a user's interests, or one sentence why there are none to show."""

import json

import pytest

from rankstream.features.interests.table import open_interests
from tests.builders.bundle import AS_OF_MS, a_bundle
from tests.builders.cli import rankstream, refusal
from tests.builders.interests import interests, publish_of
from tests.builders.live_items import NEW, publish_items


@pytest.fixture
def folders(tmp_path):
    publish_of(tmp_path / "interests", {"ключ": interests((7, 3.0), (9, 1.0)), 5: interests(("gone", 2.0))})
    return "--interests", tmp_path / "interests", "--bundle", a_bundle(tmp_path / "bundle")


def test_the_most_important_come_first_with_their_shares(folders):
    shown = rankstream("interests", "ключ", *folders)
    assert shown.exit_code == 0, shown.output
    assert "interests of user ключ as of 2023-11-14" in shown.output
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.output.splitlines() if "│" in line]
    assert rows == [["1", "7", "3.00", "75%", "1"], ["2", "9", "1.00", "25%", "1"]]


def test_as_json(folders):
    shown = json.loads(rankstream("interests", "ключ", *folders, "--json").stdout)
    first = {"item_id": 7, "importance": 3.0, "share": 0.75, "actions": 1}
    assert (shown["user_id"], shown["as_of_ms"], shown["interests"][0]) == ("ключ", AS_OF_MS, first)
    assert shown["version"] == open_interests(folders[1]).version


def test_an_item_that_the_bundle_lacks_has_no_name(folders):
    assert json.loads(rankstream("interests", 5, *folders, "--json").stdout)["interests"][0]["item_id"] is None
    assert "unknown" in rankstream("interests", 5, *folders).output


def test_an_item_that_came_after_the_training_is_named_by_the_vectors_that_were_published(folders, tmp_path):
    publish_of(tmp_path / "interests", {5: interests((NEW, 2.0), (7, 1.0))})
    publish_items(tmp_path / "items")
    told = json.loads(rankstream("interests", 5, *folders, "--item-vectors", tmp_path / "items", "--json").stdout)
    assert [one["item_id"] for one in told["interests"]] == [NEW, 7]
    publish_items(tmp_path / "others", space="other-items")
    others = refusal(rankstream("interests", 5, *folders, "--item-vectors", tmp_path / "others"))
    assert "'other-items'" in others


def test_what_cannot_be_shown_is_one_sentence(folders, tmp_path):
    assert "user 404 has no interests in" in refusal(rankstream("interests", 404, *folders))
    assert "--interests" in refusal(rankstream("interests", 7, *folders[2:]))
    nothing = refusal(rankstream("interests", 7, "--interests", tmp_path / "nowhere", *folders[2:]))
    assert "there is no table; publish one there" in nothing
    assert "nowhere" in refusal(rankstream("interests", 7, *folders[:2], "--bundle", tmp_path / "nowhere"))
    publish_of(tmp_path / "others", {7: interests((1, 1.0))}, space="other-items")
    others = refusal(rankstream("interests", 7, "--interests", tmp_path / "others", *folders[2:]))
    assert "'other-items', but those to name them by are 'tiny-items'" in others
