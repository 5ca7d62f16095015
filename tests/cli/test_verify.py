"""`rankstream verify` on dumps: what it prints, how it ends."""

import json
from dataclasses import replace

import pytest

from tests.builders.bundle import a_bundle
from tests.builders.cli import NO_BROKER, rankstream, refusal
from tests.builders.served import Day, a_day, changed


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Day:
    return a_day(tmp_path_factory.mktemp("day"), actions=200)


@pytest.fixture(scope="module")
def dump(day, tmp_path_factory):
    return day.dump(tmp_path_factory.mktemp("dumps") / "monday")


def verified(day: Day, folder, *flags):
    models = ["--bundle", day.bundle, "--user-vectors", day.user_vectors, "--history-limit", day.history_limit]
    return rankstream("verify", "--from", folder, *models, *flags)


def test_no_difference_ends_with_0(day, dump):
    result = verified(day, dump)
    assert result.exit_code == 0
    assert "11 of 11 answers to 11 requests verified: 0 differences, identical to the bit" in result.stdout
    assert "model tiny-1; user vectors 000001-" in result.stdout


def test_a_difference_ends_with_1_and_is_named(day, tmp_path):
    served = [*day.served[:4], changed(day.served[4], features="0" * 32), *day.served[5:]]
    result = verified(day, replace(day, served=served).dump(tmp_path / "tampered"))
    assert result.exit_code == 1
    assert "11 of 11 answers to 11 requests verified: 1 differ" in result.stdout
    request_id = json.loads(served[4].value)["request_id"]
    (row,) = [line for line in result.stdout.splitlines() if f" {request_id} " in line]
    assert "features" in row


def test_machines_read_the_same(day, dump):
    report = json.loads(verified(day, dump, "--json").stdout)
    assert (report["verified"], report["differences"], report["unverified"]) == (11, [], {})
    assert report["model_version"] == "tiny-1"


def test_a_part_can_be_verified(day, dump):
    assert json.loads(verified(day, dump, "--offsets", "2:5", "--json").stdout)["answers"] == 3
    assert json.loads(verified(day, dump, "--offsets", "8:", "--partition", 0, "--json").stdout)["answers"] == 3
    assert refusal(verified(day, dump, "--partition", 7)).startswith("there is no answer to verify")


def test_nothing_verified_is_no_success(day, dump, tmp_path):
    other = replace(day, bundle=a_bundle(tmp_path / "other", model_version="tiny-2"))
    assert refusal(verified(other, dump)) == (
        "none of 11 answers could be verified; the most common reason: "
        "served by model tiny-1, but the bundle holds tiny-2"
    )


def test_what_is_missing_is_refused_with_the_remedy(day, dump, tmp_path):
    assert refusal(verified(day, tmp_path / "gone")).startswith("there is no folder")
    (tmp_path / "empty").mkdir()
    assert "start workers with --served-features" in refusal(verified(day, tmp_path / "empty"))
    assert refusal(rankstream("verify", "--from", dump, "--bundle", tmp_path / "none")).startswith(
        f"there is no bundle folder {tmp_path / 'none'}; name the one that was served"
    )
    assert "wanted FIRST:END" in refusal(verified(day, dump, "--offsets", "5"))


def test_a_broker_that_is_not_there(day, monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 300)
    result = rankstream("verify", "--bundle", day.bundle, "--bootstrap-servers", NO_BROKER)
    assert refusal(result).startswith(f"no Kafka broker answers at {NO_BROKER}")
