"""Lines that should be objects of JSON and are none are told how to become some."""

import subprocess
from pathlib import Path

import pytest

from rankstream.events.open import LogOptions, open_log
from rankstream.events.readers.not_json import remedy
from tests.builders.actions import MORNING_MS
from tests.builders.logs import whole
from tests.events.test_refusals import refusal

ROW = f'{{"user_id": "u1", "item_id": "i1", "action": "view", "timestamp_ms": {MORNING_MS}}}'

LINES = {
    ROW.replace('"', "'"): "python3 -c",
    ROW.replace('"', "u'", 1).replace('"', "'"): "python3 -c",
    ROW + ROW: "jq -c .",
    ROW + "\r" + ROW: "jq -c .",
    ROW + ",": "sed 's/,$//'",
    "u1\t" + ROW: "sed 's/^[^{]*//'",
    "\x1e" + ROW: "sed 's/^[^{]*//'",
}


@pytest.mark.parametrize("line", LINES)
def test_the_command_that_is_named_makes_lines_that_are_read(line, tmp_path):
    (tmp_path / "log.jsonl").write_text(f"{line}\n{line}\n", newline="")
    words = refusal(tmp_path / "log.jsonl")
    command = words[words.index(LINES[line]) :].rpartition(")")[0]
    how = command.replace("FILE.jsonl", str(tmp_path / "better.jsonl")).replace("FILE", str(tmp_path / "log.jsonl"))
    subprocess.run(how, shell=True, check=True)
    assert set(whole(open_log(tmp_path / "better.jsonl")).user_ids) == {"u1"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"user_id": NaN, "item_id": 1}', "write null for NaN"),
        (b"user_id,item_id", "let its name end with .csv"),
        (b'{"user_id": "u1"', ""),
        (b"noon", ""),
    ],
)
def test_what_is_not_plain_is_not_guessed(line, words):
    assert words in remedy(line)
    assert bool(words) == bool(remedy(line))


def test_text_that_holds_json_is_told_its_ending(tmp_path: Path):
    (tmp_path / "log.csv").write_text(f"{ROW}\n")
    assert "holds JSON lines; let its name end with .jsonl" in refusal(tmp_path / "log.csv")
    (tmp_path / "log.txt").write_text(f"u1\t{ROW}\n")
    assert "behind other columns; leave those out: sed 's/^[^{]*//' log.txt > log.jsonl" in refusal(
        tmp_path / "log.txt"
    )


def test_a_column_of_json_in_a_table_is_a_text(tmp_path: Path):
    (tmp_path / "log.csv").write_text(f'user_id,item_id,action,timestamp_ms,more\nu1,i1,view,{MORNING_MS},"{{}}"\n')
    assert len(whole(open_log(tmp_path / "log.csv", LogOptions()))) == 1
