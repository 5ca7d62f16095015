"""The own-data page as its reader meets it: each of its commands is run as it stands there, one after the other.

What is cut is size alone, so that it takes seconds: the example by its own flags, the training by the environment, as
its settings allow; and the broker gets a free port. Everything else is the page's text.
"""

import csv
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.streams.broker import free_port
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "your-data.md"
SMALLER = {
    "RANKSTREAM_TRAIN_" + name.upper(): str(value)
    for name, value in {
        "user_steps": 4, "session_steps": 4, "ranker_steps": 4, "evaluate_every": 4, "item_dim": 8, "user_dim": 8,
        "user_width": 8, "session_width": 8, "session_state": 8, "width": 8,
    }.items()
}  # fmt: skip
SIZES = ["--rows", "2400", "--users", "60", "--products", "60"]
MAX_COMMANDS = 6  # of the path itself


def commands() -> list[str]:
    """Every line of a shell block of the page."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def the(name: str) -> list[str]:
    """The lines that call a command."""
    return [line for line in commands() if f"rankstream {name} " in line]


@dataclass
class Sitting:
    """A folder in which the page's commands were typed, and what each printed."""

    folder: Path
    port: int = field(default_factory=free_port)
    printed: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What a person's shell would have: `rankstream` on the path; and the sizes of this test."""
        binary = self.folder / "bin" / "rankstream"
        binary.parent.mkdir(exist_ok=True)
        binary.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rankstream.cli.main "$@"\n')
        binary.chmod(0o755)
        return {
            **os.environ, **SMALLER, "PATH": f"{binary.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "RANKSTREAM_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.port}", "PYTHONUNBUFFERED": "1", "COLUMNS": "80",
        }  # fmt: skip

    def type(self, line: str, more: str = "") -> str:
        """Run a line as the shell does; return what it printed."""
        done = subprocess.run(
            ["sh", "-c", f"{line} {more}"], cwd=self.folder, env=self.environment(), capture_output=True, text=True,
            timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        self.printed[line] = done.stdout + done.stderr
        return self.printed[line]

    @contextmanager
    def serving(self, line: str) -> Iterator[str]:
        """Run the line that serves until the block ends, by Ctrl-C; yield what it printed when it was ready."""
        process = subprocess.Popen(
            ["sh", "-c", f"exec {line} --port {self.port}"], cwd=self.folder, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        with process:
            printed = ""
            assert process.stdout is not None
            while "Ctrl-C" not in printed:
                more = process.stdout.readline()
                assert more, printed
                printed += more
            try:
                yield printed
            finally:
                os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
            assert process.wait(PATIENCE_S) == 0, process.stdout.read()

    def products(self) -> set[str]:
        """The products as the CSV writes them."""
        with (self.folder / "shop.csv").open(newline="") as file:
            return {row["product_id"] for row in csv.DictReader(file)}


def hinted(served: str) -> list[str]:
    """The words of the request that `serve` says to ask with, without where its broker is."""
    words = shlex.split(re.search(r"ask in another terminal: (.*)", served)[1])  # type: ignore[index]
    return words[: words.index("--bootstrap-servers")]


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.fixture(scope="module")
def sitting(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    """All of the page, typed from top to bottom."""
    here = Sitting(tmp_path_factory.mktemp("sitting"))
    lines = commands()
    at = lines.index(the("serve")[0])
    here.type(lines[0], shlex.join(SIZES))
    for line in lines[1:at]:
        here.type(line)
    with here.serving(lines[at]) as served:
        here.printed[lines[at]] = served
        asked, known = shlex.split(the("request")[0]), hinted(served)
        for line in lines[at + 1 :]:  # another log ends with another user
            here.type(line.replace(option(asked, "--user"), option(known, "--user")))
    return here


pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_path_has_at_most_six_commands():
    headings = re.findall(r"^## \d\. ", PAGE.read_text(), re.MULTILINE)
    assert len(headings) <= MAX_COMMANDS


def test_the_log_is_read_without_a_flag_and_what_was_guessed_is_said(sitting):
    looked = sitting.printed[the("replay")[0]]
    assert "user_id is customer_id, item_id is product_id, action is event_type, timestamp_ms is event_time" in looked
    assert re.search(r"2,3\d\d events in", looked)
    assert "no user_id" in looked


def test_training_leaves_a_bundle_that_knows_the_products_as_the_csv_writes_them(sitting):
    table = EmbeddingTable.open(sitting.folder / "run" / "bundle" / "items")
    known = table.ids(range(len(table)))
    assert set(known) <= sitting.products()
    assert any(product.startswith("0") for product in known)


def test_evaluation_has_a_row_of_every_model(sitting):
    evaluated = sitting.printed[the("evaluate")[0]]
    assert all(model in evaluated for model in ("PinnerFormer", "HierTCN", "ranker"))


def test_replay_ends_with_a_verdict_and_a_report(sitting):
    replayed = " ".join(sitting.printed[the("replay")[1]].split())
    assert re.search(r"bundle (beats|loses to|is not clearly different from)", replayed)
    assert (sitting.folder / "report" / "report.html").is_file()


def test_serving_knows_the_log_and_says_how_to_ask(sitting):
    served = sitting.printed[the("serve")[0]]
    assert re.search(r"serving hybrid-\w+ at 127.0.0.1:\d+: 2,3\d\d actions known", served)
    asked = shlex.split(the("request")[0])
    assert [word for word in asked if word.startswith("--")] == ["--limit", "--user", "--at"]
    assert [word for word in hinted(served) if word.startswith("--")] == ["--limit", "--user", "--at"]


def test_a_feed_holds_products_of_the_shop_and_follows_the_newest_action(sitting):
    feeds = [printed for line, printed in sitting.printed.items() if line.startswith("rankstream request")]
    first, second = feeds
    for feed in feeds:
        items = re.findall(r"^│ +\d+ │ (\w+)", feed, re.MULTILINE)
        assert len(items) == 10
        assert set(items) <= sitting.products()
    assert "newest 5.0 s old" in " ".join(second.split())  # the cart that was sent in between
    assert first != second
