"""What the documentation names is there: links, pages made from code, commands, flags, targets, formats."""

import re
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path

import click
import msgspec
import pytest

from docs.generate import examples, pages
from rankstream.cli.main import main
from rankstream.events.action_event import FORGET
from rankstream.streams.schemas import ALSO, OF_TOPICS
from rankstream.streams.setting_fields import variable
from rankstream.streams.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"])
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")


def name_of(path):
    return str(path.relative_to(ROOT))


def anchors(page):
    """The headings of a page as links name them."""
    headings = [line.lstrip("# ") for line in page.read_text().splitlines() if line.startswith("#")]
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text()):
        if not target.startswith("http"):
            aim = (page.parent / target).resolve() if target else page
            assert aim.exists(), f"{target} in {page.name}"
            assert not anchor or anchor in anchors(aim), f"{target}{anchor} in {page.name}"


@pytest.mark.parametrize(("path", "text"), list(pages().items()), ids=lambda given: getattr(given, "name", ""))
def test_generated_pages_are_current(path, text):
    assert path.read_text() == text, "run `make docs`"


def test_the_configuration_page_has_every_setting():
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert [known.name for known in fields(Settings) if f"`{variable(known.name)}`" not in page] == []


def test_every_format_of_the_wire_has_a_schema():
    assert {path.stem for path in (ROOT / "docs" / "schemas").glob("*.json")} == {topic.name for topic in OF_TOPICS}


EXAMPLES = [
    pytest.param(topic, example, id=f"{topic.name}-{number}")
    for topic in OF_TOPICS
    for number, example in enumerate(examples().get(topic.name, []))
]


@pytest.mark.parametrize(("topic", "example"), EXAMPLES)
def test_examples_of_formats_are_of_the_format(topic, example):
    kind = ALSO[topic] if example.get("action") == FORGET else OF_TOPICS[topic]
    value = msgspec.json.decode(msgspec.json.encode(example), type=kind)
    assert set(example) <= set(value.__struct_fields__)


def shell_lines():
    """Every line of a shell block in the documentation that calls `rankstream`."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                if line.startswith("rankstream "):
                    yield pytest.param(line.split("|")[0].split("#")[0], id=line[:70])


@pytest.mark.parametrize("line", list(shell_lines()))
def test_commands_in_the_documentation_can_be_typed(line):
    words = shlex.split(line)[1:]
    command, context = main, click.Context(main)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None, line
    offered = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= offered


def targets():
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_make_lists_all_targets():
    done = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    assert targets() <= set(re.findall(r"make ([a-z-]+)", done.stdout))


@pytest.mark.parametrize("page", [*PAGES, ROOT / ".ci" / "run"], ids=name_of)
def test_make_targets_that_are_named_exist(page):
    text = page.read_text()
    code = text if page.name == "run" else "\n".join(re.findall(r"```sh\n.*?```|`make [a-z-]+", text, re.DOTALL))
    named = set(re.findall(r"\bmake ([a-z-]+)", code))
    assert named <= targets()


ROOMS = (
    "rankstream", "features", "events", "metrics", "bundles", "content", "graph", "retrieval", "models", "ranking",
    "streams", "evaluation", "cli", "experiments", "chaos", "fuzz", "benchmarks", "examples", "tests", "docs",
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_the_pages_name_exist(page):
    named = re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w./]*)`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_tree_and_the_guide_name_every_room():
    tree = (ROOT / "README.md").read_text().split("## The tree")[1].split("## Further")[0]
    guide = (ROOT / "docs" / "architecture.md").read_text().split("## Where does what belong")[1]
    assert [room for room in ROOMS if f"{room}/" not in tree] == []
    assert [room for room in ROOMS if f"`{room}/" not in guide] == ["rankstream"]


def prose_of(page):
    """The lines of a page that can be wrapped, numbered: no table, no block of code."""
    in_code = False
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        in_code ^= line.lstrip().startswith("```")
        if not in_code and not line.startswith("|"):
            yield number, line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_are_wrapped_at_120_columns(page):
    assert [number for number, line in prose_of(page) if len(line) > 120] == []
