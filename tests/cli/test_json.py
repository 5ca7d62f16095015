"""`--json` of every command: one document (or lines of a stream) on standard output, and nothing else there."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result

from rankstream.bundles.signature import new_key
from rankstream.cli.demo import run as demo_run
from rankstream.cli.demo.run import DemoConfig
from rankstream.ranking.bundle import use_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.streams.clients.producer import Producer
from rankstream.streams.partitioner import partition_of
from rankstream.streams.settings import Settings
from tests.builders.bundle import AS_OF_MS, a_bundle
from tests.builders.catalogue import an_item, published
from tests.builders.cli import connected, fresh_topics, rankstream
from tests.builders.exploration import the_explored
from tests.builders.graph import publish_boards
from tests.builders.interests import publish_some
from tests.builders.item_counts import a_following_bundle
from tests.builders.logs import rows_of, some_events, write_log
from tests.builders.served import Day, a_day
from tests.cli.test_dead_letters import reject
from tests.cli.test_feeds import a_feed, answer_one, send
from tests.cli.test_help import EVERY

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "tests" / "saved" / "0.1.0"
LOG = SAVED / "log" / "actions.parquet"
CONFIG = ("--config", SAVED / "rankstream.toml")
WITHOUT = {
    "worker": "prints nothing but its log, and runs until it is stopped",
    "live": "says where its page is, and runs until it is stopped",
    "gateway": "says where it listens, and runs until it is stopped",
    "serve": "says where it serves, and runs until it is stopped",
}
STREAMS = ("watch", "dead-letters list")  # a line of JSON a record


@dataclass
class Stage:
    """Where a command is run: a folder, topics if it wants some, and a day that was served."""

    folder: Path
    servers: Callable[[], str]

    @cached_property
    def topics(self) -> Settings:
        return fresh_topics(self.servers())

    @cached_property
    def run(self) -> Path:
        return shutil.copytree(SAVED / "run", self.folder / "run")

    @cached_property
    def bundle(self) -> Path:
        return a_bundle(self.folder / "bundles" / "b")

    @property
    def key(self) -> Path:
        pytest.importorskip("cryptography", reason="the extra rankstream[sign]")
        return self.folder / "signing.key"

    def new_key(self) -> Path:
        new_key(self.key)
        return self.key

    @cached_property
    def day(self) -> Day:
        return a_day(self.folder, actions=200)

    def on_the_day(self, *words: object) -> Result:
        models = ("--bundle", self.day.bundle, "--user-vectors", self.day.user_vectors)
        limit = ("--history-limit", self.day.history_limit)
        return rankstream(*words, "--from", self.day.dump(self.folder / "monday"), *models, *limit, "--json")

    def on_topics(self, *words: object) -> Result:
        return rankstream(*words, *connected(self.topics), "--json")


def demo(stage: Stage) -> Result:
    """The command alone; what it runs, and `make demo` does for minutes, is played by this test."""

    def played(config: DemoConfig, console: Any) -> Path:
        console.print("● Train")
        (config.folder / "report.json").write_text('{"wire": {}}')
        return config.folder / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_run, "run_demo", played)
        return rankstream("demo", "--folder", stage.folder, "--json")


def produce(stage: Stage) -> Result:
    log = write_log(stage.folder / "log.csv", rows_of(some_events(20)))
    log.write_text(log.read_text() + "u1,1,click,soon,,\n")
    return stage.on_topics("produce", log)


def count(stage: Stage) -> Result:
    bundle = a_following_bundle(stage.folder / "following", [("u1", 2, "view", 1_700_000_000_000)])
    return stage.on_topics("count", "--bundle", bundle, "--to", stage.folder / "counts", "--once")


def request(stage: Stage) -> Result:
    worker = answer_one(stage.topics, a_feed)
    result = stage.on_topics("request", "--user", 7, "--limit", 10)
    worker.join()
    return result


def watch(stage: Stage) -> Result:
    send(stage.topics, a_feed("r1"), a_feed("r2"))
    return stage.on_topics("watch", "--from-beginning", "--limit", 2)


def dead_letters(stage: Stage) -> Result:
    reject(stage.topics, 1)
    reject(stage.topics, 2, "schema")
    return stage.on_topics("dead-letters", "list")


def redrive(stage: Stage) -> Result:
    reject(stage.topics, 1)
    reject(stage.topics, 2, value=None)
    return stage.on_topics("dead-letters", "redrive")


def deploy(stage: Stage) -> Result:
    use_bundle(stage.bundle.parent, "b")
    return stage.on_topics("deploy", stage.bundle.parent, "b", "--requests", 10, "--watch-s", 0.1, "--slower", 100)


def skip(stage: Stage) -> Result:
    with Producer(stage.topics) as producer:
        producer.send_request(RankingRequest("r1", "u1", limit=3))
    partition = partition_of(b"u1", stage.topics.partitions)
    return stage.on_topics("skip", "--topic", "requests", "--partition", partition, "--to-offset", 1, "--yes")


def monitor(stage: Stage) -> Result:
    feeds, actions = the_explored().write(stage.folder)
    return rankstream("monitor", "--feeds", feeds, "--actions", actions, "--take", "save", "--json")


def off_policy(stage: Stage) -> Result:
    feeds, actions = the_explored().write(stage.folder)
    return rankstream("off-policy", "--feeds", feeds, "--actions", actions, "--reward", "save", "--json")


def train(stage: Stage) -> Result:
    flags = ("--positive", "save", "--until", "2023-11-18", "--no-export", *CONFIG)
    return rankstream("train", LOG, "--out", stage.folder / "new", *flags, "--json")


def items(stage: Stage) -> Path:
    path = stage.folder / "items.csv"
    path.write_text("id,name,price\n1,Trail X,59.90\n,nameless,1\n")
    return path


def catalogue(stage: Stage) -> Path:
    published(stage.folder / "catalogue", an_item(1, title="Trail X"))
    return stage.folder / "catalogue"


def import_vectors(stage: Stage) -> Result:
    file = stage.folder / "new.jsonl"
    file.write_text(json.dumps({"item_id": "fig", "vector": [0.5] * 8}))
    return rankstream("vectors", "import", file, "--bundle", stage.bundle, "--to", stage.folder / "items", "--json")


def check_index(stage: Stage) -> Result:
    assert rankstream("index", "build", stage.bundle).exit_code == 0
    return rankstream("index", "check", stage.bundle, "--limit", "10,50", "--queries", 5, "--json")


def graph_build(stage: Stage) -> Result:
    rows = stage.folder / "baskets.csv"
    rows.write_text("board,item_id\nb1,tea\nb1,milk\n")
    return rankstream("graph", "build", stage.folder / "graph", "--rows", rows, "--json")


def graph_check(stage: Stage) -> Result:
    publish_boards(stage.folder / "graph", [("b1", 5), ("b1", 6)], as_of_ms=AS_OF_MS)
    return rankstream("graph", "check", stage.folder / "graph", "--json")


def interests(stage: Stage) -> Result:
    publish_some(stage.folder / "interests", ["u1"], seed=1)
    return rankstream("interests", "u1", "--interests", stage.folder / "interests", "--bundle", stage.bundle, "--json")


RUNS: dict[str, Callable[[Stage], Result]] = {
    "demo": demo,
    "example": lambda stage: rankstream("example", stage.folder / "shop.csv", "--rows", 400, "--users", 20, "--json"),
    "produce": produce,
    "request": request,
    "watch": watch,
    "status": lambda stage: stage.on_topics("status", "--worker", "127.0.0.1:9"),
    "topics create": lambda stage: stage.on_topics("topics", "create"),
    "topics describe": lambda stage: stage.on_topics("topics", "describe"),
    "topics dump": lambda stage: stage.on_topics("topics", "dump", stage.folder / "dump"),
    "dead-letters list": dead_letters,
    "dead-letters redrive": redrive,
    "skip": skip,
    "forget": lambda stage: stage.on_topics("forget", "u1", "--yes"),
    "repartition": lambda stage: stage.on_topics(
        "repartition", "--partitions", 3, "--to-prefix", stage.topics.topic_prefix + "v2."
    ),
    "deploy": deploy,
    "replay": lambda stage: rankstream("replay", "--events", LOG, "--bundle", SAVED / "run" / "bundle", "--json"),
    "verify": lambda stage: stage.on_the_day("verify"),
    "off-policy": off_policy,
    "monitor": monitor,
    "explain": lambda stage: stage.on_the_day("explain", "--request", "r100"),
    "train": train,
    "export": lambda stage: rankstream("export", "--from", stage.run, "--to", stage.folder / "new", "--json"),
    "evaluate": lambda stage: rankstream("evaluate", LOG, "--from", stage.run, "--json"),
    "embed": lambda stage: rankstream("embed", LOG, "--from", stage.run, "--json"),
    "count": count,
    "catalogue import": lambda stage: rankstream("catalogue", "import", items(stage), stage.folder / "c", "--json"),
    "catalogue show": lambda stage: rankstream("catalogue", "show", catalogue(stage), 1, "--json"),
    "catalogue check": lambda stage: rankstream(
        "catalogue", "check", catalogue(stage), "--bundle", stage.bundle, "--json"
    ),
    "catalogue follow": lambda stage: stage.on_topics("catalogue", "follow", stage.folder / "c", "--once"),
    "vectors import": import_vectors,
    "index build": lambda stage: rankstream("index", "build", stage.bundle, "--json"),
    "index check": check_index,
    "interests": interests,
    "graph build": graph_build,
    "graph check": graph_check,
    "bundle show": lambda stage: rankstream("bundle", "show", stage.bundle, "--json"),
    "bundle verify": lambda stage: rankstream("bundle", "verify", stage.bundle, "--json"),
    "bundle keygen": lambda stage: rankstream("bundle", "keygen", stage.key, "--json"),
    "bundle sign": lambda stage: rankstream("bundle", "sign", stage.bundle, "--key", stage.new_key(), "--json"),
    "bundle use": lambda stage: rankstream("bundle", "use", stage.bundle.parent, stage.bundle.name, "--json"),
    "settings": lambda stage: rankstream("settings", *CONFIG, "--json"),
}
ON_KAFKA = (
    "produce",
    "request",
    "watch",
    "status",
    "topics",
    "dead-letters",
    "skip",
    "forget",
    "repartition",
    "deploy",
    "count",
    "catalogue follow",
)
NAMES = [" ".join(path) for path, _ in EVERY]


def test_every_command_has_json():
    offering = {" ".join(path) for path, command in EVERY if any("--json" in one.opts for one in command.params)}
    assert offering == set(NAMES) - set(WITHOUT)


def test_every_command_with_json_is_run_here():
    assert set(RUNS) == set(NAMES) - set(WITHOUT)


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Stage:
    return Stage(tmp_path, lambda: str(request.getfixturevalue("bootstrap_servers")))


def documented() -> dict[str, str]:
    """What docs/operations.md says of the JSON of each command."""
    part = (ROOT / "docs" / "operations.md").read_text().split("## Commands in programs")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \| (.*) \|$", part, re.MULTILINE)
    return {name: keys for names, keys in rows for name in re.findall(r"`([^`]+)`", names)}


def keys_of(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def parameters():
    for name in RUNS:
        marks = [pytest.mark.broker] if {name, name.split()[0]} & {*ON_KAFKA} else []
        marks += [pytest.mark.slow] if name == "export" else []
        yield pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", list(parameters()))
def test_nothing_but_json_is_on_standard_output(name: str, stage: Stage):
    result = RUNS[name](stage)
    wanted = 1 if name == "status" else 0  # no worker runs, which the exit code says
    assert result.exit_code == wanted, (result.output, result.exception)
    lines = result.stdout.splitlines()
    assert len(lines) == (2 if name in STREAMS else 1)
    for line in lines:
        document = json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
        said = keys_of(documented()[name].split(":")[0])
        if name == "settings":
            assert all(set(value) == said for value in document.values())
        elif name == "replay":
            assert {*said, "protocol"} <= set(document)
        elif name == "demo":
            assert set(document) == {"wire"}
        elif name in ("request", *STREAMS):
            assert msgspec.json.decode(line)  # the record itself, whose fields docs/topics.md lists
        else:
            assert set(document) == said


def test_the_page_has_every_command():
    assert set(documented()) == set(RUNS)


@pytest.mark.broker
def test_what_is_wrong_with_topics_is_in_the_document_and_in_the_exit_code(bootstrap_servers: str):
    cluster = ("--bootstrap-servers", bootstrap_servers, "--topic-prefix", "nowhere.")
    result = rankstream("topics", "describe", *cluster, "--json")
    assert result.exit_code == 2
    assert {one["partitions"] for one in json.loads(result.stdout)["topics"]} == {0}
    assert "5 things to mend, see wrong" in result.stderr


def test_secrets_are_not_in_the_document():
    shown = rankstream("settings", "--json", sasl_password="hunter2").stdout
    assert "hunter2" not in shown
    source = "the environment variable RANKSTREAM_SASL_PASSWORD"
    assert json.loads(shown)["sasl_password"] == {"value": "***", "source": source}
