"""`rankstream live` as a process, and what it refuses to start with."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.builders.bundle import a_bundle
from tests.builders.cli import NO_BROKER, rankstream, refusal
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


def call(address, path, value=None):
    body = None if value is None else json.dumps(value).encode()
    asked = urllib.request.Request(address + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_titles_of_a_file_are_shown_and_its_items_alone_are_proposed(tmp_path):
    (tmp_path / "items.csv").write_text("sku,name,category\n7,Seven,Shoes>Red\n8,Eight,Shoes\n9,<b>Nine</b>,\n")
    words = ("--bundle", a_bundle(tmp_path / "bundle"), "--items", tmp_path / "items.csv", "--state-dir", tmp_path)
    command = [sys.executable, "-m", "rankstream.cli.main", "live", "--port", "0", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        address = process.stdout.readline().removeprefix("live page on ").strip().rstrip("/")
        cards = call(address, "/page/cards", {"ids": [9, 7]})
        assert [(one["title"], one["category"]) for one in cards] == [("<b>Nine</b>", []), ("Seven", ["Shoes", "Red"])]
        feed = call(address, "/rank", {"user_id": "v", "limit": 100})
        assert {item["item_id"] for item in feed["items"]} == {7, 8, 9}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--bundle", "nowhere"], "there is no bundle folder nowhere"),
        (["--items", "nowhere.csv"], "nowhere.csv"),
        (["--images", "pictures/{id}.jpg"], "wanted one as https://host/{id}.jpg"),
        (["--host", "0.0.0.0"], "there is no token: set RANKSTREAM_GATEWAY_TOKEN"),
        (["--candidates", "0"], "candidates"),
    ],
)
def test_what_it_can_not_show_is_one_sentence(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_bundle(tmp_path / "bundle")
    assert told in refusal(rankstream("live", *words))


def test_brokers_that_are_named_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 300)
    words = ("--port", 0, "--bundle", a_bundle(tmp_path / "bundle"))
    assert "refuses connections" in refusal(rankstream("live", *words, bootstrap_servers=NO_BROKER))
