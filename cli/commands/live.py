"""`rankstream live`: a page in a browser whose row follows its visitor."""

import asyncio
import logging
import tempfile
import threading
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from rankstream.cli.commands.gateway import QUIET, kafka_road
from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.gateway import GATEWAY_FIELDS, BothSettings
from rankstream.cli.options.items import read_items_file
from rankstream.cli.options.settings import options_of
from rankstream.content.live import LiveCatalogue
from rankstream.content.updates import replace_items
from rankstream.events.arrivals import LogError
from rankstream.features.actions import VocabularyRefusedError
from rankstream.features.embeddings.files import KEPT_VERSIONS, BrokenTableError
from rankstream.features.files import CURRENT
from rankstream.features.stores.base import StoreRefusedError
from rankstream.gateway.road import Road
from rankstream.gateway.server import serve_until_signal
from rankstream.gateway.settings import read_gateway_settings
from rankstream.gateway.worker_road import WorkerRoad, open_states
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.ranking.experiment import Experiment
from rankstream.ranking.request import MAX_CANDIDATES
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.log_lines import set_up
from rankstream.streams.settings import Section, Settings, in_sections, read_origins
from rankstream.streams.worker.interpreter import settle
from rankstream.streams.worker.open_serving import open_serving
from rankstream.web.cards import BadImagesError, Cards
from rankstream.web.page import CANDIDATES, LivePage, PageOptions

FOLDER = "live"  # of state_dir, for the visitors of a page without Kafka
RATE_LIMIT = 200.0  # requests/s of one address, unless told otherwise: a page is clicked on by whoever finds it
BESIDE = ("item_vectors", "interests", "catalogue")  # what a worker may have been started with, too
FIELDS = [*GATEWAY_FIELDS, *(known for known in in_sections(Section) if known.name in BESIDE)]


@dataclass(frozen=True)
class LiveSettings(BothSettings):
    """What a page reads."""

    through_kafka: bool  # brokers are named, by a flag, the environment or the file


def read_live(flags: Mapping[str, object], file: Path | None) -> LiveSettings:
    """Read all settings. Raises ``SettingsError``."""
    origins, gateway = read_origins(flags, file=file), read_gateway_settings(flags, file)
    limited = gateway if gateway.rate_limit else replace(gateway, rate_limit=RATE_LIMIT)
    return LiveSettings(origins.settings, limited, "bootstrap_servers" in origins.sources)


@click.command()
@click.option(
    "--items",
    type=click.Path(path_type=Path),
    help="What the items are: a file (CSV, JSON lines, Parquet) or the folder of a catalogue.  [default: ids alone]",
)
@click.option(
    "--images", metavar="URL", help="Address of each item's picture, with {id} in it.  [default: the catalogue's own]"
)
@click.option(
    "--candidates",
    type=click.IntRange(1, MAX_CANDIDATES),
    default=CANDIDATES,
    show_default=True,
    help="Items that are ranked for a row of 20.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser of this machine.")
@options_of(FIELDS, read_live)
@refusing(
    ClientError,
    BundleRefusedError,
    BrokenTableError,
    StoreRefusedError,
    VocabularyRefusedError,
    LogError,
    BadImagesError,
)
def command(items: Path | None, images: str | None, candidates: int, opens: bool, settings: LiveSettings) -> None:
    """Show a page whose row of items follows every click.

    It runs until Ctrl-C or SIGTERM.

    Twenty items with their titles, and a button for each action that the bundle knows. A click sends the action, and
    the row moves to its new order; beside it stand the same visitor's feeds without realtime actions, and with actions
    older than some seconds alone. `why?` says which clicks put an item where it is. Nothing is loaded from elsewhere
    but the pictures that you name.

    Without --bootstrap-servers all happens in this process: no Kafka, visitors' states in state_dir/live. With it the
    page's actions and requests go through Kafka to the workers that run there, and the bundle is opened here, too, for
    what stands beside the feed: give it and the tables as the workers have them, and the --variant of an experiment
    with its share and salt, by which the visitor is on one side or the other. docs/integrate.md says more.

    \b
    Examples:
      rankstream live --bundle run/bundle --items items.csv
      rankstream live --bundle run/bundle --items catalogue \\
        --images 'https://shop.example/pictures/{id}.jpg' --port 8090
      rankstream live --bundle run/bundle --bootstrap-servers kafka:9092
    """
    set_up(settings.stream.log_level, settings.stream.log_format)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _catalogue(items, settings.stream) as catalogue:
        cards = Cards(None if catalogue is None else LiveCatalogue(catalogue), images)
        page = _page(settings, catalogue, cards, candidates)
        settle()
        asyncio.run(serve_until_signal(page, lambda address: _told(address, opens)))


def _told(address: str, opens: bool) -> None:
    click.echo(f"live page on {address}/")
    if opens:  # beside the server: a browser of the terminal returns when it is closed
        threading.Thread(target=webbrowser.open, args=(f"{address}/",), daemon=True).start()


@contextmanager
def _catalogue(items: Path | None, settings: Settings) -> Iterator[Path | None]:
    """Give the folder of the catalogue that names the items; a file becomes one that is gone at the end."""
    if items is None or (items / CURRENT).exists():
        yield settings.catalogue if items is None else items
        return
    with tempfile.TemporaryDirectory(prefix="rankstream-live-") as folder:
        root = Path(folder) / "catalogue"
        replace_items(root, read_items_file(items), KEPT_VERSIONS)
        yield root


def _page(settings: LiveSettings, catalogue: Path | None, cards: Cards, candidates: int) -> LivePage:
    stream = settings.stream
    if not stream.bundle.is_dir():
        raise Refusal(
            f"there is no bundle folder {stream.bundle}; make one with `rankstream demo` or `rankstream train`, or "
            "name another with --bundle"
        )
    served = stream if settings.through_kafka else replace(stream, catalogue=catalogue)
    serving = open_serving(served)
    road = kafka_road(settings) if settings.through_kafka else _own_worker(serving, stream)
    through = "kafka" if settings.through_kafka else "process"
    options = PageOptions(through, cards, candidates, stream.history_limit)
    return LivePage(road, serving, settings.gateway, options)


def _own_worker(serving: LiveRanker | Experiment, settings: Settings) -> Road:
    store = open_states(settings.state_dir / FOLDER, serving)
    return WorkerRoad(serving, store, settings.history_limit, settings.scoring_threads)
