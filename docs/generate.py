"""Writes what is made from code: docs/configuration.md, docs/metrics.md, docs/schemas, docs/asyncapi.json, a dashboard.

    python -m docs.generate

``tests/test_docs.py`` fails when a page is not what this would write.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import Field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from docs.dashboard import dashboard
from docs.metrics_page import metrics
from rankstream.cli.options.settings import default_text
from rankstream.cli.options.train_settings import TrainSection, TrainSettings
from rankstream.gateway.settings import GatewaySection, GatewaySettings
from rankstream.streams.avro_schemas import avro_schema_of
from rankstream.streams.schemas import OF_TOPICS, asyncapi, schema_of
from rankstream.streams.setting_fields import CONFIG_VARIABLE, about, flag, kind_of, limits, variable
from rankstream.streams.settings import Section, Settings, in_sections
from rankstream.streams.topics import Topic

HERE = Path(__file__).parent
DASHBOARD = HERE.parent / "deploy" / "grafana" / "rankstream.json"
KINDS = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}

CONFIGURATION = f"""\
# Configuration

*This page is written by `make docs` from `streams/settings.py`, `gateway/settings.py` and
`cli/options/train_settings.py`; change the fields there.*

Every setting has one name and can be given in three ways; the first that is given wins:

1. a flag: `--commit-interval-s 2` (a switch: `--changelog` or `--no-changelog`),
2. the environment: `RANKSTREAM_COMMIT_INTERVAL_S=2`; an empty variable counts as not set,
3. a file in TOML: `commit_interval_s = 2` in `rankstream.toml` of the folder where the command starts, or in the file
   that `--config FILE` or `{CONFIG_VARIABLE}=FILE` names.

A value that can't be used stops the command with one sentence that names the flag, variable or file. Unknown names in
the file are refused; unknown variables are not, as orchestrators set some of their own. Paths are relative to the
folder where the command starts. `rankstream settings` shows every value and where it came from. A worker started with
`faust -A rankstream.streams.app worker` has no flags of its own and reads the environment and the file.
"""

GATEWAY = """
The settings that follow are those of `rankstream gateway`. Their variables begin with `RANKSTREAM_GATEWAY_`, and in the
file they stand under `[gateway]`. Connection and security are those above.
"""
TRAINING = """
How a log is read (`--map`, `--set`, `--time-unit`, ...) is said by flags alone, the same ones of every command that
reads one: [logs](logs.md).

The settings that follow are those of `rankstream train`. Their variables begin with `RANKSTREAM_TRAIN_`, and in the
file they stand under `[train]`.
"""


def configuration() -> str:
    """Return the text of docs/configuration.md."""
    streams = "".join(_section(each.value, in_sections([each])) for each in Section)
    gateway = "".join(_section(each.value, _of(GatewaySettings, each), "gateway") for each in GatewaySection)
    training = "".join(_section(each.value, _of(TrainSettings, each), "train") for each in TrainSection)
    return CONFIGURATION + streams + GATEWAY + gateway + TRAINING + training


def _of(kind: type, section: Enum) -> list[Field[Any]]:
    return [known for known in fields(kind) if about(known).section is section]


def _section(title: str, settings: Sequence[Field[Any]], table: str = "") -> str:
    lines = [f"\n## {title}\n", "| setting | type | default | what it does |", "|---|---|---|---|"]
    for known in settings:
        declared = about(known)
        unit = f", {declared.unit}" if declared.unit else ""
        allowed = limits(declared)
        unset = "by `size`" if table == "train" and known.name != "minutes" else ""
        default = unset if known.default is None else "" if known.default == "" else f"`{default_text(known)}`"
        offered = (
            f"`{variable(known.name, table)}`"
            if declared.secret
            else f"`{flag(known.name)}`<br>`{variable(known.name, table)}`"
        )
        text = declared.help + (f" Allowed: {allowed}." if allowed else "")
        lines.append(f"| {offered} | {KINDS[kind_of(known)]}{unit} | {default} | {text} |")
    return "\n".join(lines) + "\n"


def examples() -> dict[str, list[Any]]:
    """Return the JSON objects of docs/topics.md by the topic under whose heading they stand."""
    found: dict[str, list[Any]] = {}
    for part in (HERE / "topics.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        blocks = re.findall(r"```json\n(.*?)```", part, re.DOTALL)
        texts = [text for block in blocks for text in re.split(r"\n(?=\{)", block.strip())]
        found[part.splitlines()[0]] = [json.loads(text) for text in texts]
    return found


def schema(topic: Topic) -> str:
    """Return the text of docs/schemas/<topic>.json: JSON Schema of the topic's values, with the page's examples."""
    return _text(schema_of(topic) | {"examples": examples().get(topic.name, [])})


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"


def pages() -> dict[Path, str]:
    """Return every page that is generated."""
    schemas = {HERE / "schemas" / f"{topic.name}.json": schema(topic) for topic in OF_TOPICS}
    schemas |= {
        HERE / "schemas" / f"{topic.name}.avsc": _text(avro_schema_of(topic))
        for topic in OF_TOPICS
        if not topic.written_by_workers
    }
    made = {"configuration.md": configuration(), "metrics.md": metrics(), "asyncapi.json": _text(asyncapi())}
    return {HERE / name: text for name, text in made.items()} | schemas | {DASHBOARD: dashboard()}


def main() -> None:
    """Write all pages."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    settings = sum(len(fields(kind)) for kind in (Settings, GatewaySettings, TrainSettings))
    print(f"wrote {len(pages())} pages for {settings} settings and {len(OF_TOPICS)} topics")


if __name__ == "__main__":
    main()
