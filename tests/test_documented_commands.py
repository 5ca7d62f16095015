"""Every command of the documentation could be typed, and what needs no Kafka and no hours is run as it stands."""

import gzip
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from rankstream.cli.main import main
from rankstream.cli.views.feeds import feed_table
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.codec import RankedFeed
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.records import recorded_request
from tests.builders.bundle import AS_OF_MS, a_bundle, a_user_table
from tests.builders.cli import rankstream
from tests.builders.logs import write_log
from tests.builders.pages import ROOT, SHELL, Command, blocks, commands_of, commands_of_line, lines_of, problems_of
from tests.builders.served import a_day
from tests.cli.test_help import EVERY

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "benchmarks" / "README.md",
        ROOT / "tests/saved/README.md",
    ]
)
OLD_NAMES = {  # what a page of the past names on purpose
    "CHANGELOG.md": ("faust -A streams.app worker", "rankstream train --draws"),
}
# Why a line of a block is not run here, by what it begins with or holds; all are parsed.
NOT_RUN = {
    r"make ": "sets up an environment and runs for minutes",
    r"rankstream (topics|worker|produce|request|watch|dead-letters|skip|forget|status|count)\b": "talks to Kafka, as "
    "tests/kafka do",
    r"rankstream off-policy": "reads topics from Kafka: tests/cli/test_off_policy.py runs it on files",
    r"rankstream monitor": "reads topics from Kafka: tests/cli/test_monitor.py runs it on files",
    r"rankstream (verify|explain) (?!.*--from)": "reads topics from Kafka: tests/kafka/test_replay_is_live.py does",
    r"[A-Z_]+=\S+ rankstream (gateway|worker)": "runs until it is stopped: tests/cli/test_gateway.py, tests/kafka",
    r"rankstream catalogue": "needs a catalogue, or Kafka: tests/cli/test_catalogue.py and test_catalogue_follow.py",
    r"rankstream embed .*--items": "needs a catalogue: tests/cli/test_train_items.py has a file of items",
    r"rankstream graph": "needs rows of boards, or a catalogue: tests/cli/test_graph.py has some",
    r"rankstream replay .*--catalogue": "needs what is published: tests/evaluation/replay/test_catalogues.py has some",
    r"kafka-configs\.sh ": "needs Apache Kafka's own programs, and a broker",
    r"kubectl ": "needs a cluster: tests/test_kubernetes.py looks at what is applied",
    r"rankstream bundle show .*\| jq": "is run by tests/cli/test_json.py",
    r"rankstream evaluate .* --from (demo-run|tb)": "needs trained models: tests/cli/test_training.py has some",
    r"rankstream (train|replay --events) monday": "is the loop that tests/cli/test_closed_loop.py goes through",
    r"rankstream (train|replay --events) clicks/": "needs a public log: tests/cli/test_training.py has a small one",
    r"python -m rankstream\.experiments": "trains for minutes to hours: tests/experiments run them small",
}
TRAINING = ("rankstream train actions/", "rankstream train feed", "rankstream train clicks")
WITH_MORE = {command: ["--no-export"] for command in TRAINING}  # exporting takes half a minute; tests/cli exports
RUN_ELSEWHERE = {  # by what runs all of the page's commands
    "docs/your-data.md": "tests/test_your_data.py",
    "docs/integrate.md": "tests/test_integrate.py",
    "docs/coming-from.md": "tests/test_coming_from.py",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_names_could_be_typed(page: Path):
    old = OLD_NAMES.get(name_of(page), ())
    assert [one for one in problems_of(page.read_text()) if not one.startswith(old or ("-",))] == []


def test_enough_commands_are_found():
    found = [one for page in PAGES for one in commands_of(page.read_text())]
    assert sum(one.whole for one in found) > 30
    assert sum(not one.whole for one in found) > 60


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("--staleness 0s,1h,never", "--stalenes 0s", "No such option"),
        ("--staleness 0s,1h,never", "--staleness 0s,soon", "soon"),
        ("rankstream replay --events", "rankstream replya --events", "there is no command replya"),
        ("--partitions 8", "--partitions eight", "eight"),
        ("make test ", "make tests ", "make has no target tests"),
        ("make demo DATA=folder", "make demo DATEN=folder", "make knows no DATEN"),
        ("examples/rank_in_process.py demo-run", "examples/rank_in_memory.py demo-run", "there is no file"),
        ("`rankstream watch`", "`rankstream watch --all`", "there is no --all"),
        ("-A rankstream.streams.app", "-A rankstream.stream.app", "there is no module"),
    ],
)
def test_a_page_that_is_wrong_is_seen(right: str, wrong: str, words: str):
    text = (ROOT / "README.md").read_text()
    assert right in text
    (problem,) = problems_of(text.replace(right, wrong, 1))
    assert words in problem


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("```toml\nboot_strap = 'x'\n```\n", "boot_strap"),
        ("```python\nfrom rankstream.nothing import x\n```\n", "there is no module rankstream.nothing"),
        ("```console\n$ rankstream train log.csv\n```\n", "--out"),
        ("```sh\nrankstream replay --events a --protocol \\\n  guessed\n```\n", "guessed"),
    ],
)
def test_settings_python_and_continued_lines_are_read_too(block: str, words: str):
    (problem,) = problems_of(block)
    assert words in problem


def test_the_feed_in_the_readme_is_what_is_printed(tmp_path: Path):
    serving = LiveRanker.open(a_bundle(tmp_path / "b"))
    pipeline = Pipeline(UserCache(MemoryStore()), serving, clock=lambda: AS_OF_MS)
    request = RankingRequest("r1", 7, candidates=(9, 10, 11, 999))
    (answer,) = pipeline.on_requests([recorded_request(request, 0, AS_OF_MS)]).answer()
    printed = io.StringIO()
    Console(file=printed, width=100).print(feed_table(msgspec.json.decode(answer.value, type=RankedFeed)))
    shown = printed.getvalue().partition("model tiny-1")[0]
    assert f"```\n{shown}```" in (ROOT / "README.md").read_text()


# The help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_examples_of_the_help_could_be_typed(path: tuple[str, ...], command: object):
    text = re.sub(r"\\\n\s*", " ", getattr(command, "help", "") or "")
    lines = [re.split(r"\s{3,}", line.strip())[0] for line in text.splitlines() if re.match(r"\s*\S", line)]
    examples = [line for line in lines if re.match(r"([A-Z_]+=\S+ |tail .*)?rankstream ", line + " ")]
    commands = [one for line in examples for one in commands_of_line(line) if one.words[0] == "rankstream"]
    assert any(one.words[1 : 1 + len(path)] == path for one in commands)
    assert problems_of("```sh\n" + "\n".join(examples) + "\n```\n") == []


def test_the_first_help_names_commands_that_exist():
    shown = [line.strip() for line in (main.help or "").splitlines() if line.strip().startswith("rankstream ")]
    assert [
        one for line in shown for one in problems_of(f"`{re.split(r'  +', line)[0]}`") if "COMMAND" not in one
    ] == []


# Run ------------------------------------------------------------------------------------------------------------------


def lines_to_run() -> Iterator[object]:
    """Each block of shell with a line that is run: the lines of a block follow each other in one folder."""
    for page in PAGES:
        for number, (language, block) in enumerate(blocks(page.read_text())):
            lines = [line for line in lines_of(block) if language in SHELL and why_not_run(line) is None]
            if lines and name_of(page) not in RUN_ELSEWHERE:
                yield pytest.param(lines, id=f"{name_of(page)}-{number}")


def why_not_run(line: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, line)), None)


def test_no_reason_is_left_over():
    lines = [
        line
        for page in PAGES
        for language, block in blocks(page.read_text())
        if language in SHELL
        for line in lines_of(block)
    ]
    assert [pattern for pattern in NOT_RUN if not any(re.match(pattern, line) for line in lines)] == []
    assert [test for test in RUN_ELSEWHERE.values() if not (ROOT / test).exists()] == []


SMALL = (ROOT / "tests" / "saved" / "0.1.0" / "rankstream.toml").read_text()
SAVED = ROOT / "tests" / "saved" / "0.1.0"
DAY_MS = 86_400_000
JULY_MS, FEBRUARY_MS = 1_751_068_800_000, 888_537_600_000  # 28 June 2025; 27 February 1998


def some_rows(since_ms: int, days: int, users: int = 8) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    return [
        {"user_id": user, "item_id": int(rng.integers(1, 25)), "action": ("view", "click", "save", "hide")[n % 4],
         "timestamp_ms": since_ms + day * DAY_MS + 600_000 * n + user * 1_000}
        for day in range(days) for user in range(1, users + 1) for n in range(8)
    ]  # fmt: skip


def write_lists(folder: Path) -> None:
    """What was done, and what was shown a minute before: in one file and in two."""
    done = [row for row in some_rows(AS_OF_MS, 3) if row["action"] == "click"]
    shown = [
        {**row, "action": "impression", "item_id": item, "timestamp_ms": int(str(row["timestamp_ms"])) - 60_000}
        for row in done for item in (row["item_id"], 30, 31)
    ]  # fmt: skip
    write_log(folder / "feed.parquet", sorted(done + shown, key=lambda row: int(str(row["timestamp_ms"]))))
    write_log(folder / "clicks.csv", done)
    alone = [{name: value for name, value in row.items() if name != "action"} for row in shown]
    write_log(folder / "shown.csv", alone)


def write_inter(path: Path, since_ms: int) -> None:
    """MovieLens as RecBole writes it."""
    path.parent.mkdir(exist_ok=True)
    rating = {"save": 5, "click": 4, "view": 3, "hide": 1}
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    lines += [
        f"{row['user_id']}\t{row['item_id']}\t{rating[str(row['action'])]}\t{int(str(row['timestamp_ms'])) // 1000}"
        for row in some_rows(since_ms, 4)
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def small_ones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small ones of everything that the pages name, and settings that train in seconds."""
    tmp_path = tmp_path_factory.mktemp("small")
    (tmp_path / "rankstream.toml").write_text(SMALL)
    for name in ("actions", "plays", "events"):
        write_log(tmp_path / f"{name}.parquet", some_rows(AS_OF_MS, 3))
    write_lists(tmp_path)
    for folder in ("actions", "logs"):
        (tmp_path / folder).mkdir()
    shop = write_log(tmp_path / "shop.csv", some_rows(AS_OF_MS, 2))
    (tmp_path / "logs" / "2023-11-14.csv.gz").write_bytes(gzip.compress(shop.read_bytes()))
    (tmp_path / "plays.tsv").write_text("".join(f"u{n % 5}\ti{n % 7}\t{AS_OF_MS + n}\n" for n in range(50)))
    known = [{**row, "item_id": f"i{row['item_id']}"} for row in some_rows(JULY_MS, 5)]  # to the run of SAVED
    write_log(tmp_path / "actions" / "days.parquet", known)
    write_inter(tmp_path / "ml-100k.inter", AS_OF_MS)
    write_inter(tmp_path / "ml-100k" / "ml-100k.inter", FEBRUARY_MS)
    shutil.copytree(SAVED / "run", tmp_path / "run")
    dim = EmbeddingTable.open(tmp_path / "run" / "bundle" / "items").dim
    (tmp_path / "new.jsonl").write_text(json.dumps({"item_id": "a7", "vector": [0.1] * dim}))
    day = a_day(tmp_path, actions=200, history_limit=20)  # as in the settings
    day.dump(tmp_path / "monday")
    shutil.copytree(day.user_vectors, tmp_path / "vectors" / "users")
    for folder in ("", "demo-run", "m30", "tb"):
        bundle, table = tmp_path / folder / "bundle", tmp_path / folder / "vectors" / "users"
        if not bundle.exists():
            a_bundle(bundle)
        if not table.exists():
            a_user_table(table, [1, 2, 3])
    return tmp_path


@pytest.fixture
def stage(small_ones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that has all of them."""
    monkeypatch.chdir(shutil.copytree(small_ones, tmp_path / "here"))
    return tmp_path / "here"


@pytest.mark.parametrize("lines", list(lines_to_run()))
def test_a_block_runs_as_it_stands(lines: list[str], stage: Path):
    if any("--out run" in line for line in lines):
        shutil.rmtree(stage / "run")
    for line in lines:
        if "signing.key" in line:
            pytest.importorskip("cryptography", reason="the extra rankstream[sign]")
        if "mine.parquet" in line:
            write_own_scores(stage)
        first, *_ = commands_of_line(line.replace("/srv/", "srv/"))
        code, output = run(first)
        assert code == 0, (line, output)
        if "--json" in first.words:
            assert json.loads(output)


def write_own_scores(folder: Path) -> None:
    """Score the requests of the outcomes before, as a reader of the page would."""
    outcomes = pq.read_table(folder / "outcomes.parquet", columns=["query", "targets"]).to_pylist()
    scores = {(one["query"], item): 1.0 for one in outcomes for item in one["targets"]}
    columns = {"query": [query for query, _ in scores], "item_id": [item for _, item in scores]}
    pq.write_table(pa.table(columns | {"score": list(scores.values())}), folder / "mine.parquet")


def run(command: Command) -> tuple[int, str]:
    head, *words = command.words
    if head == "rankstream":
        more = [flag for begin, flags in WITH_MORE.items() if command.text.startswith(begin) for flag in flags]
        result = rankstream(*words, *more)
        return result.exit_code, result.output if result.exception is None else f"{result.output} {result.exception!r}"
    path = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:]], capture_output=True, text=True, env=path, check=False
    )
    return done.returncode, done.stdout + done.stderr
