"""The page for those who come from other systems: their data, as the page shows it, is read by its commands."""

import json
import re
import shlex
import shutil
import subprocess

import pytest

from tests.builders.cli import rankstream
from tests.builders.pages import ROOT
from tests.builders.patience import PATIENCE_S

PAGE = (ROOT / "docs" / "coming-from.md").read_text()


def section(title):
    """The lines of data of a section, and its commands, each a line."""
    text = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    (data,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (commands,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return data, commands


def replayed(folder, command):
    words = shlex.split(command)
    assert words[:2] == ["rankstream", "replay"]
    result = rankstream(*[str(folder / word) if word.endswith(".jsonl") else word for word in words[1:]], "--json")
    return json.loads(result.stdout)["events"]


@pytest.mark.parametrize(("title", "file"), [("Metarank", "metarank.jsonl"), ("gorse", "gorse.jsonl")])
def test_its_events_are_a_log(tmp_path, title, file):
    data, commands = section(title)
    (tmp_path / file).write_text(data)
    assert replayed(tmp_path, commands.splitlines()[0]) == 1


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_metaranks_rankings_become_what_was_shown(tmp_path):
    data, commands = section("Metarank")
    (tmp_path / "metarank.jsonl").write_text(data)
    (tmp_path / "shown.jq").write_text(re.findall(r"```jq\n(.*?)```", PAGE, re.DOTALL)[0])
    (line,) = [line for line in commands.splitlines() if line.startswith("jq ")]
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True, timeout=PATIENCE_S)
    rows = [json.loads(row) for row in (tmp_path / "shown.jsonl").read_text().splitlines()]
    shown = {"list_id": "r1", "user_id": "alice", "timestamp_ms": "1661431894711"}
    assert rows == [shown | {"item_id": "p9", "position": 0}, shown | {"item_id": "p7", "position": 1}]
