"""Files as people have them, through the commands themselves: each reads them alike, or refuses in one sentence."""

import gzip
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from rankstream.events.open import open_log
from rankstream.events.registry import read_log
from rankstream.models.recipes.run_folder import load_models
from rankstream.streams.setting_fields import flag
from tests.builders.cli import NO_BROKER, rankstream, refusal

MORNING_MS = 1_700_006_400_000  # midnight, 15 November 2023
HEADING = "user_id,item_id,action,timestamp_ms\n"
WIDTHS = ("item_dim", "user_dim", "user_width", "session_width", "session_state", "width")
SMALL = dict.fromkeys(("user_steps", "session_steps", "ranker_steps"), 3) | {"batch": 4} | dict.fromkeys(WIDTHS, 8)
TINY = [word for name, value in SMALL.items() for word in (flag(name), value)]


def actions(day, padded=True):
    """What ten users did on a day, on items whose ids begin with a zero."""
    rng, kinds = np.random.default_rng(day), ("view", "click")
    rows = []
    for user in range(10):
        for hour in range(5):
            item = int(rng.integers(10, 40))
            at_ms = MORNING_MS + day * 86_400_000 + hour * 600_000 + user
            rows.append((f"u{user}", f"01087750{item}" if padded else item, str(rng.choice(kinds)), at_ms))
    return rows


def text(rows):
    return HEADING + "".join(",".join(map(str, row)) + "\n" for row in rows)


def lines(rows):
    names = HEADING.strip().split(",")
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    """Days of one log in the forms that they come in."""
    folder = tmp_path / "days"
    (folder / "dt=2023-11-15").mkdir(parents=True)
    (folder / "dt=2023-11-15" / "part-0.CSV").write_text("\ufeff" + text(actions(0)))
    (folder / "dt=2023-11-16.jsonl.gz").write_bytes(gzip.compress(lines(actions(1)).encode()))
    (folder / "dt=2023-11-17.jsonl").write_text(lines(actions(2)))
    (folder / "dt=2023-11-18.tsv").write_text(text(actions(3)).replace(",", "\t").replace("\n", "\r\n"))
    (folder / "_SUCCESS").touch()
    return folder


def test_training_knows_every_item_of_its_log_as_the_log_writes_it(folder, tmp_path):
    done = rankstream("train", folder, "--out", tmp_path / "run", "--positive", "click", "--no-export", *TINY)
    assert done.exit_code == 0, done.output
    assert "trained on 200 actions" in done.output
    table = load_models(tmp_path / "run" / "work").item_table
    log = read_log(open_log(folder))
    assert sorted(table.ids.tolist()) == log.items().tolist()
    assert all(item.startswith("01087750") for item in table.ids)


def test_replay_reads_the_whole_folder(folder):
    done = rankstream("replay", "--events", folder)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("200 events in ")
    assert re.search(r"\n\d+ users, \d+ items; 20\d\d-.* UTC to 20\d\d-.* UTC; \w+ \d+", done.stdout)


def test_a_user_who_did_most_of_a_log_is_said_with_the_remedy(tmp_path):
    (tmp_path / "log.csv").write_text(text([("guest", *one[1:]) for one in actions(0)] + actions(1)))
    done = rankstream("replay", "--events", tmp_path / "log.csv")
    assert re.search(
        r"note: 50 of 100 actions \(50%\) are of one user, 'guest'; if .* --map user_id=COLUMN", done.stderr
    )


def test_days_whose_ids_have_letters_in_one_and_none_in_another_are_one_log(tmp_path):
    (tmp_path / "d1.csv").write_text(text(actions(0, padded=False)))
    (tmp_path / "d2.csv").write_text(
        text([("guest-1", *actions(1, padded=False)[0][1:]), *actions(1, padded=False)[1:]])
    )
    done = rankstream("replay", "--events", tmp_path)
    assert done.stdout.startswith("100 events in ")


COMMANDS = {
    "train": lambda path: ("train", path, "--out", path.parent / "run", "--positive", "view", "--no-export"),
    "replay": lambda path: ("replay", "--events", path),
    "produce": lambda path: ("produce", path, "--bootstrap-servers", NO_BROKER),
}
REFUSED = {
    "dup_column.csv": (
        HEADING.strip() + f",user_id\nu1,i1,view,{MORNING_MS},X\n",
        "has several columns of the name user_id; give each its own name",
    ),
    "latin1.csv": (
        HEADING + f"Caf\u00e9,i1,view,{MORNING_MS}\n",
        "is no UTF-8: line 2 has the byte 0xe9 (byte 39 of the text); if it is Latin-1, convert it: "
        "iconv -f ISO-8859-1 -t UTF-8 latin1.csv > utf8-latin1.csv",
    ),
    "array.json": (
        json.dumps([{"user_id": "u1", "item_id": "i1", "action": "view", "timestamp_ms": MORNING_MS}] * 2),
        "is one JSON array, not a message a line; write its elements a line each: jq -c '.[]' array.json > array.jsonl",
    ),
    "headless.csv": (
        f"u1,i1,view,{MORNING_MS}\n",
        "has no heading, its first row is u1, i1, view, 1700006400000; name its columns, for example "
        "--columns user_id,item_id,action,timestamp_ms",
    ),
    "no_action.csv": (
        f"user,item,time,price\nu1,i1,{MORNING_MS},2\n",
        "has no column action; it has user, item, time, price; name it with --map action=COLUMN, or, if all rows are "
        "of one kind, say which with --set action=view",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_no_command_can_read_all_refuse_with_the_same_sentence(command, name, tmp_path):
    data, words = REFUSED[name]
    (tmp_path / name).write_bytes(data.encode("latin-1"))
    assert refusal(rankstream(*COMMANDS[command](tmp_path / name))) == f"{tmp_path / name} {words}"


def test_the_commands_of_the_page_about_logs_are_typed_as_they_stand(tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    (tmp_path / "shop.csv").write_text("Customer;SKU;Event;Date\nu1;i1;view;2023-11-15 10:00:00\n")
    (tmp_path / "logs" / "2023-11-15.csv.gz").write_bytes(gzip.compress(text(actions(0)).encode()))
    (tmp_path / "logs" / "2023-11-16.jsonl").write_text(lines(actions(1)))
    (tmp_path / "plays.tsv").write_text("u1\ti1\t1700000000\nu2\ti1\t1700000001\nu3\ti1\t1700000002\n")
    page = (Path(__file__).parents[2] / "docs" / "logs.md").read_text()
    commands = page.partition("```bash\n")[2].partition("```")[0].splitlines()
    monkeypatch.chdir(tmp_path)
    counts = []
    for command in commands:
        done = rankstream(*shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        counts.append(int(done.stdout.split()[0]))
    assert counts == [1, 100, 50, 3]


def test_a_file_of_other_names_is_read_and_said_so_in_one_line(tmp_path):
    (tmp_path / "shop.csv").write_text(
        "Customer;SKU;Event;Date\nu1;i1;view;2023-11-15 10:00:00\nu2;i2;click;2023-11-15 11:00:00\n"
    )
    done = rankstream("replay", "--events", tmp_path / "shop.csv")
    assert done.stdout.startswith("2 events in ")
    told = "user_id is Customer, item_id is SKU, action is Event, timestamp_ms is Date"
    assert f"{tmp_path / 'shop.csv'}: by the names of its columns, {told}; --map says otherwise" in done.stderr
