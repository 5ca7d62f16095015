"""What the user can mend ends with 2 and one sentence, quickly, and never with a traceback."""

import sys
import time

import pytest

from rankstream.cli.main import COMMANDS
from tests.builders.cli import NO_BROKER, rankstream, refusal

TABLE = "user_id,item_id,action,timestamp_ms\n7,9,click,1700000000000\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "actions.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 300)


def test_an_unknown_command_is_named():
    assert refusal(rankstream("wroker")).startswith("No such command 'wroker'")


def test_an_unknown_flag_points_to_the_help():
    assert refusal(rankstream("watch", "--usr", 7)).endswith("(see rankstream watch --help)")


def test_a_file_that_is_not_there():
    assert refusal(rankstream("produce", "nowhere.csv")).startswith("there is no file nowhere.csv")


def test_a_file_of_an_unknown_kind(tmp_path):
    path = tmp_path / "actions.xlsx"
    path.touch()
    assert "ends with .xlsx; .parquet, .csv, .tsv, .txt and .jsonl can be read" in refusal(rankstream("produce", path))


def test_a_file_that_is_not_parquet(tmp_path):
    path = tmp_path / "actions.parquet"
    path.write_text(TABLE)
    assert "can't be read as Parquet" in refusal(rankstream("produce", path))


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("who,item_id,action,timestamp_ms\n")
    words = refusal(rankstream("produce", path))
    assert "has no column user_id; it has who, item_id, action, timestamp_ms" in words
    assert "--map user_id=COLUMN" in words


def test_mapping_what_is_no_field(table):
    assert "item is no field of an action; it has user_id, item_id" in refusal(
        rankstream("produce", table, "--map", "item=x")
    )


def test_a_map_without_a_column(table):
    assert refusal(rankstream("produce", table, "--map", "user_id")) == (
        "--map user_id has no =; write --map field=something"
    )


def test_a_broker_that_is_not_there_is_given_up_within_seconds():
    begun = time.monotonic()
    refusal(rankstream("watch", "--bootstrap-servers", NO_BROKER))
    assert time.monotonic() - begun < 30, "it waited for a broker as clients do: for minutes"


@pytest.mark.parametrize(
    "command",
    [("request", "--user", 7, "--limit", 5), ("watch",), ("topics", "create"), ("topics", "describe"),
     ("dead-letters", "list"), ("dead-letters", "redrive")],
)  # fmt: skip
def test_a_broker_that_is_not_there(command, impatient):
    words = refusal(rankstream(*command, "--bootstrap-servers", NO_BROKER))
    assert words.startswith(f"no Kafka broker answers at {NO_BROKER}")


def test_a_broker_that_is_not_there_for_a_file(table, impatient):
    assert refusal(rankstream("produce", table, bootstrap_servers=NO_BROKER)).startswith("no Kafka broker answers")


@pytest.mark.parametrize("servers", ["localhost", "localhost:kafka", "a:9092,b", "a:9092,"])
def test_an_address_that_is_none(servers):
    assert "wanted host:port" in refusal(rankstream("watch", "--bootstrap-servers", servers))


def test_a_bad_setting_names_its_source():
    assert refusal(rankstream("watch", security_protocol="TLS")).startswith(
        "the environment variable RANKSTREAM_SECURITY_PROTOCOL is 'TLS'; wanted one of"
    )


def test_a_settings_file_that_is_not_there():
    assert refusal(rankstream("watch", "--config", "gone.toml")).startswith("the settings file gone.toml can't be read")


def test_a_request_with_neither_candidates_nor_limit():
    assert refusal(rankstream("request", "--user", 7)).startswith("give either --candidates")


def test_a_request_with_too_many_candidates():
    candidates = ",".join(str(item) for item in range(5001))
    assert "length <= 5000" in refusal(rankstream("request", "--user", 7, "--candidates", candidates))


def test_a_worker_without_a_bundle(tmp_path):
    words = refusal(rankstream("worker", "--bundle", tmp_path / "none"))
    assert "there is no bundle folder" in words
    assert "rankstream train" in words


def test_the_list_of_commands_is_shown_without_importing_them():
    shown = rankstream("--help").output
    assert all(f"  {name} " in shown for name in COMMANDS)


def test_the_compiled_engine_without_numba_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rankstream.streams.compiled.pipeline", None)
    told = refusal(rankstream("worker", "--engine", "compiled", "--bundle", tmp_path))
    assert told.startswith("engine is compiled, but numba can't be imported")
    assert told.endswith("pip install 'rankstream[fast]', or set engine = plain")
