"""`train`, `export` and `embed`: what the user can mend is one sentence; and `rankstream` alone never loads torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders_cli import rankstream, refusal

ROOT = Path(__file__).parents[2]
MORNING_MS = 1_700_000_000_000


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [
        {"user_id": n % 5, "item_id": n % 7, "action": ("view", "save")[n % 2], "timestamp_ms": MORNING_MS + 60_000 * n}
        for n in range(40)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_log_that_is_not_there(tmp_path):
    words = refusal(rankstream("train", tmp_path / "gone.csv", "--out", tmp_path / "run", "--positive", "save"))
    assert "there is no file" in words


def test_an_action_that_the_log_lacks_is_named_with_those_it_has(log, tmp_path):
    words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--positive", "like"))
    assert words == "the log has no action like; it has save, view"


def test_training_wants_to_know_what_users_come_for(log, tmp_path):
    assert "--positive" in refusal(rankstream("train", log, "--out", tmp_path / "run"))


def test_a_weight_that_is_no_number(log, tmp_path):
    words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--positive", "save", "--utility", "save"))
    assert words.startswith("--utility save is no action=weight")


def test_a_bundle_is_never_overwritten(log, tmp_path):
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--positive", "save"))
    assert words.endswith("run/bundle is there already; a bundle never changes: name a new folder")


def test_exporting_what_was_never_trained(log, tmp_path):
    words = refusal(rankstream("export", log, "--from", tmp_path, "--to", tmp_path / "b", "--positive", "save"))
    assert "nothing was trained there" in words


def test_embedding_with_a_model_that_was_never_trained(log, tmp_path):
    assert "pinnerformer.pt" in refusal(rankstream("embed", log, "--from", tmp_path))


def test_only_training_loads_torch():
    """Importing every other command, and showing the help of all, leaves torch alone."""
    code = (
        "import sys, importlib\n"
        "from cli.main import COMMANDS\n"
        "for name in COMMANDS: importlib.import_module('cli.' + name.replace('-', '_'))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"
