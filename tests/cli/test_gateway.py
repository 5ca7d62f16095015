"""`rankstream gateway` as a process, and what it refuses to start with."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from rankstream.features.actions import Vocabulary
from rankstream.streams.worker.vocabulary_guard import keep_vocabulary
from tests.builders.bundle import VOCABULARY, a_bundle
from tests.builders.cli import NO_BROKER, rankstream, refusal
from tests.builders.gateway import a_click
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


def start(*words):
    command = [sys.executable, "-m", "rankstream.cli.main", "gateway", "--port", "0", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def post(address, path, value):
    asked = urllib.request.Request(address + path, json.dumps(value).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_with_a_worker_in_it_states_are_there_after_a_kill(tmp_path):
    options = ("--worker", "--bundle", a_bundle(tmp_path / "bundle"), "--state-dir", tmp_path / "state")
    with start(*options) as process:
        address = process.stdout.readline().removeprefix("serving on ").strip()
        assert post(address, "/actions", a_click("u1"))["accepted"] == 1
        process.kill()
    with start(*options) as process:
        address = process.stdout.readline().removeprefix("serving on ").strip()
        feed = post(address, "/rank", {"user_id": "u1", "limit": 3})
        assert (feed["model_version"], feed["actions_used"]) == ("tiny-1", 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert process.stdout.read() == ""


@pytest.mark.parametrize("command", ["gateway", "live"])
def test_a_bundle_whose_names_are_not_those_of_the_states_is_refused(tmp_path, command):
    """A save of before would be read as a hide."""
    states = tmp_path / "state" / command
    keep_vocabulary(states, Vocabulary(VOCABULARY.actions[::-1], VOCABULARY.surfaces))
    options = ("--bundle", a_bundle(tmp_path / "bundle"), "--state-dir", tmp_path / "state", "--port", 0)
    told = refusal(rankstream(command, *(["--worker"] if command == "gateway" else []), *options))
    assert f"the users in {states} were written with the actions hide, save, click, view, but the bundle has" in told
    assert told.endswith("or move it away to begin without its users, as there is no log here to build them from")


@pytest.mark.parametrize("command", [("gateway", "--worker"), ("live",), ("worker",)])
def test_a_state_folder_that_can_not_be_used_is_one_sentence(tmp_path, command):
    (tmp_path / "state").write_text("a file")
    options = ("--bundle", a_bundle(tmp_path / "bundle"), "--state-dir", tmp_path / "state")
    told = refusal(rankstream(*command, *options, bootstrap_servers=NO_BROKER if command == ("worker",) else ""))
    assert f"{tmp_path / 'state'} stands in its way" in told


def test_traces_without_their_extra_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "rankstream.streams.spans", None)
    told = refusal(rankstream("gateway", "--traces", "otlp"))
    assert told.endswith("pip install 'rankstream[otel]', or set traces = off")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--worker", "--bundle", "nowhere"], "there is no bundle folder nowhere"),
        (["--host", "0.0.0.0"], "there is no token: set RANKSTREAM_GATEWAY_TOKEN"),
        (["--tls-certfile", "nowhere.pem"], "tls_certfile nowhere.pem"),
        (["--port", "99999"], "wanted 0 to 65,535"),
    ],
)
def test_what_it_can_not_serve_with_is_one_sentence(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in refusal(rankstream("gateway", *words))


def test_without_a_broker_it_ends_with_one_sentence(monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 300)
    assert "refuses connections" in refusal(rankstream("gateway", "--port", 0, "--bootstrap-servers", NO_BROKER))


def test_a_port_that_is_taken_is_one_sentence(tmp_path):
    options = ("--worker", "--bundle", a_bundle(tmp_path / "bundle"))
    with start(*options, "--state-dir", tmp_path / "a") as process:
        port = process.stdout.readline().strip().rpartition(":")[2]
        result = rankstream("gateway", *options, "--state-dir", tmp_path / "b", "--port", port)
        process.terminate()
    assert f"{port}" in refusal(result)


def test_secrets_are_shown_by_no_command():
    shown = rankstream("settings", "--json", gateway_token="0123456789abcdef").stdout
    assert json.loads(shown)["gateway.token"]["value"] == "***"
    assert json.loads(shown)["gateway.token"]["source"] == "the environment variable RANKSTREAM_GATEWAY_TOKEN"
