"""`rankstream count`: items are counted by the minute, and workers follow."""

import logging
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import click

from rankstream.bundles.item_counts import NotCountableError
from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.logs import log_options, opened_log
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.options.versions import keep_option
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.skipped import print_skipped
from rankstream.evaluation.time_text import delay_ms, delay_text, time_text
from rankstream.events.arrivals import Arrivals, LogError
from rankstream.events.impressions import Impressions
from rankstream.events.open import FileLog, LogOptions
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.item_counts.files import FolderInUseError
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.counter_metrics import COUNTER_METRICS, CounterLook
from rankstream.streams.clients.item_counter import ItemCounter, NotPublishedError, Pace, Published
from rankstream.streams.clients.metrics_pages import pages
from rankstream.streams.exposition import Exposition
from rankstream.streams.log_lines import set_up
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings

READ_EVERY_S = 10.0  # what comes meanwhile waits in Kafka; no version needs it sooner
AGAIN_S = 10.0  # after brokers could not be used
OF_COUNTER = ("bundle", "item_vectors", "partitioner", "web_port", "web_host", "log_level", "log_format")

QUIET = ("aiokafka", "kafka")  # both repeat for each attempt what is said here once

log = logging.getLogger("rankstream.count")


class RecordedBefore:
    """A recorded log, read as every command reads one; what is skipped of it is printed."""

    def __init__(self, log: FileLog) -> None:
        self._log = log

    def batches(self, vocabulary: Vocabulary) -> Iterable[Arrivals]:
        """Read its actions and erasures from the start."""
        yield from self._log.batches(vocabulary, erasures=True)
        print_skipped(self._log.skipped)

    def lists(self, vocabulary: Vocabulary) -> Impressions | None:
        """Return what it says of what was shown."""
        return self._log.impressions(vocabulary)


def _delay(ctx: click.Context, option: click.Parameter, given: str) -> int:
    with refusing(ValueError):
        delay = delay_ms(given)
    if delay is None or (option.name == "every_ms" and delay < 1000):
        raise Refusal(f"{option.opts[0]} {given} can't be; write for example {option.default}")
    return delay


@click.command()
@click.option(
    "--to", "root", type=click.Path(path_type=Path), default=Path("item_counts"), show_default=True,
    help="Folder of item counts to publish into: what workers are given as --item-counts.",
)  # fmt: skip
@click.option(
    "--every", "every_ms", callback=_delay, default="10m", show_default=True, metavar="10m|1h",
    help="Publish as of each such boundary of time, UTC.",
)  # fmt: skip
@click.option(
    "--grace", "grace_ms", callback=_delay, default="10s", show_default=True, metavar="10s",
    help="Wait so long after a boundary for what is still on its way; what arrives later counts for the next one.",
)  # fmt: skip
@keep_option(at_least=2)
@click.option("--once", is_flag=True, help="Read what the topics hold now, publish the last boundary and end.")
@click.option(
    "--from", "recorded", type=click.Path(path_type=Path), metavar="LOG",
    help="Count this log first; of the topics then only what happened after its newest action.",
)  # fmt: skip
@click.option(
    "--allow-few", is_flag=True,
    help="Publish also of less than half as many actions as the bundle's own counts are of.",
)  # fmt: skip
@log_options
@json_option
@settings_options(*CONNECTED, also=OF_COUNTER)
@refusing(ClientError, NotPublishedError, NotCountableError, BrokenTableError, FolderInUseError, LogError)
def command(
    root: Path,
    every_ms: int,
    grace_ms: int,
    keep: int,
    once: bool,
    recorded: Path | None,
    allow_few: bool,
    log_options: LogOptions,
    as_json: bool,
    settings: Settings,
) -> None:
    """Count the bundle's items as actions come, and publish versions that workers follow, until Ctrl-C or SIGTERM.

    What is popular, the shares of actions and which items go together are counted by the same code as in training and
    in `rankstream embed`, and every 10 minutes instead of every night. A version is a function of what had happened,
    and arrived, before its boundary: counted again it is the same to the byte. `served-features` names the version
    that an answer used, so that `verify` and `replay --item-counts` find what was served, as long as --keep keeps it.

    It reads all that the topic holds into memory, 40 bytes an action, of the newest 5 million; nothing else is kept,
    so it may be killed at any time and reads again. Where the topic does not go back as far as the training's log, give
    that with --from. Users erased by `rankstream forget` are not counted from then on. Another bundle that CURRENT
    names in the bundle's folder is followed. One process a folder. Needs no torch.

    \b
    Reads:  user-actions; impressions, where the bundle's counts know what was
            shown; --bundle; the items of --item-vectors, if given
    Writes: versions of item counts in --to

    \b
    Examples:
      rankstream count --bundle bundle --to item_counts
      rankstream count --bundle bundle --from actions/ --every 1m --keep 60
      rankstream count --bundle bundle --once
    """
    set_up(settings.log_level, settings.log_format)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pace = Pace(every_ms, grace_ms, keep)
    before = None if recorded is None else RecordedBefore(opened_log(recorded, log_options))
    with ExitStack() as open_ones:
        counter = open_ones.enter_context(ItemCounter(settings, root, pace, before, allow_few=allow_few))
        if once:
            _show(counter, counter.read_to_end(), as_json)
            return
        shown = Exposition(COUNTER_METRICS, lambda: CounterLook(counter.figures, pace, wall_clock_ms()))
        open_ones.enter_context(pages(settings.web_host, settings.web_port, shown.text))
        log.info("items are counted into %s every %s", root, delay_text(every_ms))
        while True:
            _step(counter)


def _step(counter: ItemCounter) -> None:
    """Read on and publish what is due; wait where there is nothing to do, or brokers are away."""
    try:
        published = counter.step()
    except (ClientError, NotPublishedError, NotCountableError) as exc:
        if not counter.figures.versions and isinstance(exc, NotCountableError):
            raise
        log.error("%s; it is tried again", " ".join(str(exc).split()))
        time.sleep(AGAIN_S)
        return
    if published is not None:
        log.info("published %s", _told(counter, published))
    if not counter.has_work:
        time.sleep(READ_EVERY_S)


def _told(counter: ItemCounter, published: Published) -> str:
    """Return the line of figures of a version."""
    figures = counter.figures
    passed = ", ".join(f"{count:,} {reason}" for reason, count in figures.passed_over.most_common())
    lists = f" and {figures.lists:,} lists" if figures.lists else ""
    return (
        f"{published.folder} as of {time_text(published.as_of_ms)}: {published.items:,} items of "
        f"{published.actions:,} actions{lists} read, in {published.seconds:.1f} s"
        + (f"; passed over: {passed}" if passed else "")
    )


def _show(counter: ItemCounter, published: Published | None, as_json: bool) -> None:
    """Print what `--once` came to."""
    figures = counter.figures
    if as_json:
        print_json(
            {
                "version": None if published is None else published.folder,
                "as_of_ms": None if published is None else published.as_of_ms,
                "items": 0 if published is None else published.items,
                "actions": figures.actions,
                "lists": figures.lists,
                "passed_over": dict(figures.passed_over),
            }
        )
    elif published is None:
        click.echo(f"{figures.actions:,} actions read; nothing newer than what is published in {counter.root}")
    else:
        click.echo(f"published {_told(counter, published)}")
