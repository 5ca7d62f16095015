"""`rankstream explain` on dumps: what people see, what machines read, what is refused."""

import json
from dataclasses import replace

import pytest

from tests.builders.cli import rankstream, refusal
from tests.builders.served import Day, a_day, changed


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Day:
    return a_day(tmp_path_factory.mktemp("day"), actions=200)


@pytest.fixture(scope="module")
def dump(day, tmp_path_factory):
    return day.dump(tmp_path_factory.mktemp("dumps") / "monday")


def explained(day: Day, folder, request_id, *flags):
    models = ["--bundle", day.bundle, "--user-vectors", day.user_vectors, "--history-limit", day.history_limit]
    return rankstream("explain", "--request", request_id, "--from", folder, *models, *flags)


def test_people_see_what_was_known_the_sum_and_what_each_action_did(day, dump):
    shown = explained(day, dump, "r100").stdout
    assert "request r100 of user 7" in shown
    assert "identical to what was served, to the bit" in shown
    assert "13 known; newest 12.0 s old" in shown
    assert "23, 3 not in the item table (zero vectors): 201, 211, 221" in shown
    assert "hide x -5" in shown
    assert "save, click, hide: scores, no probabilities" in " ".join(shown.split())
    assert "all actions" in shown
    assert "3 more actions changed these scores by" in shown


def test_a_requested_item_is_shown_at_its_rank(day, dump):
    shown = explained(day, dump, "r100", "--item", 201, "--actions", 0).stdout
    assert "201 (unknown)" in shown
    assert "201, rank 12" in shown


def test_machines_read_plain_values(day, dump):
    values = json.loads(explained(day, dump, "r100", "--json").stdout)
    assert (values["request_id"], values["user_id"], values["identical"]) == ("r100", 7, True)
    assert len(values["history"]) == 13
    item = values["items"][0]
    assert sum(term["term"] for term in item["terms"]) == pytest.approx(item["score"])
    assert [effect["of"] for effect in item["effects"]] == ["all actions", "batch vector", *range(13)]


def test_an_unknown_user_is_shown_without_actions(day, dump):
    shown = explained(day, dump, "r180").stdout
    assert "none known: an unknown user" in shown


def test_people_see_when_it_is_not_what_was_served(day, tmp_path):
    served = [changed(one, features="0" * 32) for one in day.served]
    shown = explained(day, replace(day, served=served).dump(tmp_path / "tampered"), "r100").stdout
    assert "not what was served: the features differ, the scores do not" in shown


def test_what_is_not_there_is_refused_with_the_remedy(day, dump, tmp_path):
    assert refusal(explained(day, dump, "r7")) == (
        "no answer to request r7 is in served-features; it holds 11 answers, such as to r0, r20, r40"
    )
    assert "is not in the answer" in refusal(explained(day, dump, "r100", "--item", "nothing"))
    gone = replace(day, requests=[]).dump(tmp_path / "gone")
    assert "read a dump of that day with --from" in refusal(explained(day, gone, "r100"))
