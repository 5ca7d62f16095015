"""`rankstream gateway` as a process, and what it refuses to start with."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.builders.bundle import a_bundle
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
