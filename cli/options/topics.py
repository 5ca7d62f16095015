"""Where audits read recorded topics from: a cluster, or a folder of dumps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from rankstream.cli.errors import Refusal
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.progress import with_progress
from rankstream.evaluation.point_in_time import RankersAsServed
from rankstream.events.action_event import Record
from rankstream.events.dumps import dump_path, read_dump
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import longer_vocabulary
from rankstream.streams.clients.connect import missing_topics
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.settings import Settings
from rankstream.streams.topics import SERVED, Topic, TopicNames

NOT_LOGGED = "start workers with --served-features, and what they serve from then on can be verified"

OF_RANKERS = (
    "bundle", "variant", "user_vectors", "item_counts", "item_vectors", "interests", "graph", "catalogue",
    "history_limit", "forget_after_days",
)  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def recorded_topics_options(command: F) -> F:
    """Return the command with the flags of its sources: ``folder``, and settings of broker, bundle and tables."""
    command = settings_options(*CONNECTED, also=OF_RANKERS)(command)  # type: ignore[assignment]
    return click.option(
        "--from",
        "folder",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Read what `rankstream topics dump FOLDER` wrote, not Kafka.",
    )(command)


class Source(Protocol):
    """Records of topics, in order within each partition."""

    def records(self, topic: Topic, partition: int | None = None) -> Iterator[Record]:
        """Return all records of a topic, or of a partition of it, with progress on stderr."""
        ...


class DumpedTopics:
    """A folder of dumps."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise Refusal(f"there is no folder {folder}; write one with `rankstream topics dump {folder}`")
        self.folder = folder

    def records(self, topic: Topic, partition: int | None = None) -> Iterator[Record]:
        """Yield all records of a topic, or of a partition of it, with progress on stderr."""
        path = dump_path(self.folder, topic.name)
        if not path.is_file():
            why = f"{NOT_LOGGED}; then dump again" if topic is SERVED else "write it with `rankstream topics dump`"
            raise Refusal(f"{self.folder} has no {path.name}: {why}")
        with path.open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        for record in with_progress(read_dump(path, topic.name), topic.name, lines):
            if partition in (None, record.partition):
                yield record


class KafkaTopics:
    """Topics of a cluster, from their beginnings to the ends that they have now."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def records(self, topic: Topic, partition: int | None = None) -> Iterator[Record]:
        """Yield all records of a topic, or of a partition of it, with progress on stderr. Raises ``ClientError``."""
        name = TopicNames(self.settings.topic_prefix).of(topic)
        if topic is SERVED and missing_topics(self.settings, [name]):
            raise Refusal(f"there is no topic {name} at {self.settings.bootstrap_servers}: {NOT_LOGGED}")
        with TopicReader(self.settings, topic, from_beginning=True, partition=partition) as reader:
            yield from with_progress(reader.read_all(), name, reader.count())


def open_source(folder: Path | None, settings: Settings) -> Source:
    """Return the source that the flags name."""
    return KafkaTopics(settings) if folder is None else DumpedTopics(folder)


def open_rankers(settings: Settings) -> list[RankersAsServed]:
    """Open the bundle, and the variant's behind it, with what is published beside them, as they were served.

    Raises ``BundleRefusedError``.
    """
    named = [("--bundle", settings.bundle), *([("--variant", settings.variant)] if settings.variant else [])]
    for flag, folder in named:
        if not folder.is_dir():
            raise Refusal(f"there is no bundle folder {folder}; name the one that was served with {flag}")
    bundles = [open_bundle(folder) for _, folder in named]
    vocabularies = [bundle.manifest.vocabulary for bundle in bundles]
    return [
        RankersAsServed(
            bundle,
            settings.user_vectors,
            settings.item_counts,
            settings.catalogue,
            settings.item_vectors,
            settings.interests,
            settings.graph,
            longer_vocabulary(vocabularies[0], vocabularies[-1]),  # users' states hold the codes of both
        )
        for bundle in bundles
    ]
