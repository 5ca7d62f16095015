"""`rankstream topics`: create them, show what is wrong with them, dump them to files."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from kafka.admin import ConfigResource, ConfigResourceType
from rich.text import Text

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.progress import with_progress
from rankstream.cli.views.table import Cell, Table, console, names, numbers
from rankstream.events.dumps import dump_path, write_dump
from rankstream.streams.clients.connect import ClientError, ask, connect_admin, missing_topics
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.settings import Section, Settings
from rankstream.streams.topics import (
    ACTIONS,
    ALL_TOPICS,
    COPARTITIONED,
    REQUESTS,
    SERVED,
    Topic,
    TopicNames,
    TopicsRefusedError,
    prepare_topics,
    wanted_topics,
)

REQUIRED = ("cleanup.policy", "max.message.bytes")  # settings of a topic; retention is the operator's choice


@click.group()
def command() -> None:
    """Create the topics, or show what is wrong with them.

    user-actions, ranking-requests and user-state-changelog have the same number of partitions: the worker that has
    partition 3 of one has partition 3 of all, and with it everything about its users.
    """


@command.command()
@json_option
@settings_options(*CONNECTED, Section.TOPICS)
@refusing(ClientError, TopicsRefusedError)
def create(as_json: bool, settings: Settings) -> None:
    """Create the topics that are missing and check the others.

    \b
    Examples:
      rankstream topics create
      rankstream topics create --partitions 24 --replication-factor 3 \\
        --bootstrap-servers kafka:9092
    """
    connect_admin(settings).close()  # refuses within seconds if no broker answers
    created = asyncio.run(prepare_topics(settings, create=True))
    missing_topics(settings, created, patience_s=10)  # until every broker lists them
    if as_json:
        print_json({"created": created})
    else:
        click.echo(f"created {', '.join(created)}" if created else "all topics are there")


@dataclass(frozen=True)
class Described:
    """A topic as the cluster has it, beside what is wanted."""

    name: str
    topic: Topic
    partitions: int  # 0: there is no such topic
    replicas: int
    config: dict[str, str]  # empty where the broker reports none

    def problems(self, partitions: int) -> list[str]:
        """Return what is wrong, where the co-partitioned topics have this many partitions."""
        if not self.partitions:
            return ["missing: rankstream topics create"]
        found = []
        if self.topic in COPARTITIONED and self.partitions != partitions:
            found.append(f"{self.partitions} partitions, but user-actions has {partitions}: recreate it")
        for key in REQUIRED:
            wanted, actual = self.topic.config.get(key), self.config.get(key)
            if wanted and actual and _falls_short(wanted, actual):
                found.append(f"{key} is {actual}, wanted {wanted}")
        return found


def _falls_short(wanted: str, actual: str) -> bool:
    """Return whether a setting is not as wanted; a larger number than wanted is."""
    return int(actual) < int(wanted) if wanted.isdecimal() and actual.isdecimal() else actual != wanted


@command.command()
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError)
def describe(as_json: bool, settings: Settings) -> None:
    """Show the topics, their settings and what is wrong with them; ends with 2 if anything is.

    \b
    Examples:
      rankstream topics describe --topic-prefix staging.
      rankstream topics describe --json | jq '.topics[] | select(.wrong != [])'
    """
    described = _describe(settings)
    partitions = next((one.partitions for one in described if one.partitions), 0)
    if as_json:
        print_json({"topics": [_document(one, partitions) for one in described]})
    else:
        console().print(table_of(described, partitions))
    if wrong := sum(len(one.problems(partitions)) for one in described):
        where = "see wrong" if as_json else "see the last column"
        raise Refusal(f"{wrong} thing{'s' if wrong > 1 else ''} to mend, {where}")


def table_of(described: Sequence[Described], partitions: int) -> Table:
    """Return a row for each topic."""
    rows: list[list[Cell]] = [
        [
            one.name,
            str(one.partitions or "-"),
            str(one.replicas or "-"),
            _kept(one),
            one.topic.key,
            one.topic.value,
            Text("; ".join(one.problems(partitions)), "red"),
        ]
        for one in described
    ]
    return Table([*names("topic"), *numbers("partitions", "copies"), *names("kept", "key", "value", "wrong")], rows)


def _document(one: Described, partitions: int) -> dict[str, object]:
    facts = {"topic": one.name, "partitions": one.partitions, "copies": one.replicas, "config": one.config}
    return facts | {"key": one.topic.key, "value": one.topic.value, "wrong": one.problems(partitions)}


def _kept(one: Described) -> str:
    if "compact" in one.config.get("cleanup.policy", one.topic.config["cleanup.policy"]):
        return "newest a key"
    milliseconds = one.config.get("retention.ms") or one.topic.config.get("retention.ms", "")
    return "for ever" if milliseconds == "-1" else f"{int(milliseconds or 0) / 86_400_000:g} d"


def _describe(settings: Settings) -> list[Described]:
    names, needed = TopicNames(settings.topic_prefix), wanted_topics(settings)

    def found(admin: Any) -> tuple[list[Topic], dict[str, Any], dict[str, dict[str, str]]]:
        existing = set(admin.list_topics())
        wanted = [topic for topic in ALL_TOPICS if topic in needed or names.of(topic) in existing]
        there = [names.of(topic) for topic in wanted if names.of(topic) in existing]
        partitions = {one["name"]: one["partitions"] for one in admin.describe_topics(there)} if there else {}
        return wanted, partitions, _configs(admin, there)

    wanted, partitions, configs = ask(settings, found, "describe the topics")
    return [
        Described(
            name=name,
            topic=topic,
            partitions=len(partitions.get(name, ())),
            replicas=min((len(each["replica_nodes"]) for each in partitions.get(name, ())), default=0),
            config=configs.get(name, {}),
        )
        for name, topic in ((names.of(topic), topic) for topic in wanted)
    ]


def _configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    """Ask for all settings of the topics: asked for some of them only, the embedded broker hangs up."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    by_topic = admin.describe_configs(resources, config_filter="all").get("topic", {})
    return {name: {key: str(entry["value"]) for key, entry in entries.items()} for name, entries in by_topic.items()}


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--topic",
    "chosen",
    multiple=True,
    metavar="TOPIC",
    type=click.Choice([topic.name for topic in ALL_TOPICS]),
    help=f"One of {', '.join(topic.name for topic in ALL_TOPICS)}; again for others.  [default: user-actions, "
    "ranking-requests, served-features]",
)
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError)
def dump(folder: Path, chosen: tuple[str, ...], as_json: bool, settings: Settings) -> None:
    """Write topics to files: a line of JSON a record, FOLDER/<topic>.jsonl.

    Each topic from its first record to the last one that is there now, with partition, offset, time, key and value, to
    the byte; what a schema registry framed is JSON there. Brokers forget requests after a day: a dump is what
    `rankstream verify --from` and `rankstream explain --from` read later, or elsewhere. Dumps of user-actions and
    ranked-feeds are what a model can be trained on: `rankstream train FOLDER --impressions FOLDER`.

    \b
    Examples:
      rankstream topics dump monday
      rankstream topics dump rejected --topic dead-letters
      rankstream topics dump monday --topic user-actions --topic ranked-feeds
    """
    names = TopicNames(settings.topic_prefix)
    wanted = [topic for topic in ALL_TOPICS if topic.name in chosen] or [ACTIONS, REQUESTS, SERVED]
    if not chosen and missing_topics(settings, [names.of(SERVED)]):
        wanted.remove(SERVED)  # off by default
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, int] = {}
    for topic in reversed(wanted):  # what was served first: what it was made from is there by then
        with TopicReader(settings, topic, from_beginning=True) as reader:
            records = with_progress(reader.read_all(), names.of(topic), reader.count())
            count = written[topic.name] = write_dump(dump_path(folder, topic.name), records)
        if not as_json:
            click.echo(f"{dump_path(folder, topic.name)}: {count:,} records")
    if as_json:
        print_json({"folder": folder, "records": written})
