"""What commands that judge served feeds read: feeds, what users then did, the model to evaluate, and their flags."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
import msgspec

from rankstream.cli.errors import Refusal
from rankstream.cli.options.logs import log_options, opened_log
from rankstream.cli.options.topics import Source
from rankstream.cli.views.progress import with_progress
from rankstream.evaluation.leakage import CountsVersions, UserTables
from rankstream.evaluation.off_policy.rerank import TargetRanker
from rankstream.evaluation.point_in_time import bundles_items, bundles_own, no_table
from rankstream.evaluation.replay.plan import item_vectors
from rankstream.evaluation.time_text import delay_ms
from rankstream.events.arrivals import RecordedLog
from rankstream.events.open import LogOptions
from rankstream.events.readers.rows import STDIN
from rankstream.events.readers.topic import RecordLog
from rankstream.features.actions import Vocabulary
from rankstream.features.decoding import UNREADABLE
from rankstream.ranking.bundle import open_bundle
from rankstream.streams.codec import RankedFeed
from rankstream.streams.topics import ACTIONS, FEEDS

NOT_A_FEED = "not a ranked-feed"

F = TypeVar("F", bound=Callable[..., Any])

_decode = msgspec.json.Decoder(RankedFeed).decode


def rewards_of_actions(rewards: tuple[str, ...]) -> dict[str, float]:
    """Read ``save=3`` and ``click``."""
    rewards_by_action = {}
    for text in rewards:
        name, _, value = text.partition("=")
        rewards_by_action[name] = number_of(f"--reward {name}", value) if value else 1.0
        if not name or not rewards_by_action[name]:
            raise Refusal(f"--reward {text} counts for nothing; write ACTION or ACTION=VALUE, as in save=3")
    return rewards_by_action


def number_of(what: str, text: str) -> float:
    """Read a number; ``what`` is the flag that it was given to."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise Refusal(f"{what} is {text!r}; wanted a number")
    return number


def within_ms(text: str) -> int:
    """Read ``30m``."""
    return length_ms("--within", text, "a time after the feed, as in 30m")


def length_ms(flag: str, text: str, wanted: str) -> int:
    """Read a length of time that is not 0."""
    try:
        length = delay_ms(text)
    except ValueError as exc:
        raise Refusal(f"{flag}: {exc}") from exc
    if not length:
        raise Refusal(f"{flag} is {text}; wanted {wanted}")
    return length


def served_feeds_options(command: F) -> F:
    """Return the command with the flags of the feeds and the actions that it joins.

    That is ``feeds``, ``actions`` and its ``log_options``, ``within`` (see ``within_ms``), and ``folder``, of dumps.
    """
    for option in reversed(
        (
            click.option(
                "--feeds",
                type=click.Path(path_type=Path, allow_dash=True),
                metavar="FILE",
                help="Feeds as `rankstream watch --json` prints them, - for standard input.  "
                "[default: the topic ranked-feeds]",
            ),
            click.option(
                "--actions",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="What users did: .parquet, .csv or .jsonl.  [default: the topic user-actions]",
            ),
            log_options,
            click.option(
                "--within", default="30m", show_default=True, metavar="DELAY", help="How long after a feed it counts."
            ),
            click.option(
                "--from",
                "folder",
                type=click.Path(path_type=Path),
                metavar="FOLDER",
                help="Read topics as `rankstream topics dump FOLDER` wrote them, not from Kafka.",
            ),
        )
    ):
        command = option(command)
    return command


def positions_option(default: int) -> Callable[[F], F]:
    """Return the flag of how many positions of a feed users see."""
    return click.option(
        "--positions",
        type=click.IntRange(1, 100),
        default=default,
        show_default=True,
        metavar="K",
        help="Positions of a feed that users see.",
    )


def open_actions(
    path: Path | None,
    options: LogOptions,
    names: tuple[str, ...],
    source: Source,
    flag: str = "--reward",
) -> RecordedLog:
    """Open the log of actions; those of these names, which were given by ``flag``, count."""
    if path is None:
        if replace(options, max_skipped=LogOptions().max_skipped) != LogOptions():
            raise Refusal("--map, --set and the other flags of a log are about --actions FILE; name the file")
        return RecordLog(ACTIONS.name, Vocabulary(names, ()), lambda: source.records(ACTIONS))
    log = opened_log(path, options)
    known = log.vocabulary.actions
    for name in names:
        if name not in known:
            raise Refusal(f"{path} has no action named {name}, only {', '.join(known)}; name others with {flag}")
    return log


def read_feeds(path: Path | None, source: Source, skipped: Counter[str]) -> Iterator[RankedFeed]:
    """Yield the feeds that can be read, with progress on stderr, and count the lines that are none."""
    for value in _values(path, source):
        try:
            yield _decode(value)
        except UNREADABLE:
            skipped[NOT_A_FEED] += 1


def _values(path: Path | None, source: Source) -> Iterator[bytes]:
    if path is None:
        yield from (record.value for record in source.records(FEEDS) if record.value is not None)
        return
    if path != STDIN and not path.is_file():
        raise Refusal(f"there is no file {path}; write one with `rankstream watch --from-beginning --json > {path}`")
    file: BinaryIO
    with nullcontext(click.get_binary_stream("stdin")) if path == STDIN else path.open("rb") as file:
        yield from (line for line in with_progress(file, str(path), None) if line.strip())


def target_ranker(
    bundle_dir: Path, vectors: Path | None, counts: Path | None, items: Path | None = None
) -> TargetRanker:
    """Open the model that is to be evaluated.

    Raises ``BundleRefusedError``, ``BrokenTableError``, and ``NotCountableError`` for the item counts of another model.
    """
    if not bundle_dir.is_dir():
        raise Refusal(
            f"there is no bundle folder {bundle_dir}; make one with `rankstream train` and `rankstream export`"
        )
    bundle, tables_as_of, counts_as_of = open_bundle(bundle_dir), no_table, bundles_own
    if vectors is not None:
        tables = UserTables(vectors)
        tables.check_made_with(bundle.manifest)
        tables_as_of = tables.as_of
    if counts is not None:
        published = CountsVersions(counts)
        published.check_made_with(bundle.manifest)
        counts_as_of = published.as_of
    items_as_of = bundles_items if items is None else item_vectors(items, bundle)
    return TargetRanker(bundle, tables_as_of, counts_as_of, items=items_as_of)
