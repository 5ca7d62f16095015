"""`rankstream serve`: a trained run served on this machine, for trying: broker, log and worker in one command."""

import asyncio
import shlex
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rankstream.bundles.manifest import ManifestError, read_manifest
from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.logs import log_options, opened_log
from rankstream.cli.views.skipped import print_skipped
from rankstream.cli.worker_process import WorkerProcess, WorkerStoppedError, wait_applied, worker_flags
from rankstream.events.arrivals import Arrivals, LogError, events_of
from rankstream.events.open import FileLog, LogOptions
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import Id
from rankstream.streams.broker import BrokerError, EmbeddedBroker, is_free
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.settings import Settings
from rankstream.streams.topics import TopicsRefusedError, prepare_topics

PORT = 9092  # where every command looks for Kafka
SESSION_TIMEOUT_S = 6.0  # the embedded broker's group joins take half of it
CATCH_UP_DEADLINE_S = 600.0
WORKER_LOG = "worker.log"
OLD_MS = 3_600_000  # an older log is asked as of its end: now, its last session has long ended


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--from", "run", type=click.Path(path_type=Path), required=True, help="Folder that `train` wrote.")
@click.option("--port", type=click.IntRange(1, 65_535), default=PORT, show_default=True, help="Of the broker.")
@log_options
def command(log: Path, run: Path, port: int, log_options: LogOptions) -> None:
    """Serve a trained run on this machine, to try it: a broker, the log and a worker in one.

    A Kafka-compatible broker starts in memory, the actions of LOG stream into it as a shop would have sent them, a
    worker with the run's bundle and the tables beside it applies them and then answers requests, until Ctrl-C.
    Other commands find it where they look for Kafka; send it new actions with `rankstream produce`. When it ends it
    forgets all. In production the broker is your Kafka, and `rankstream worker` is what serves.
    Needs the embedded broker: pip install "rankstream[demo]".

    \b
    Reads:  LOG, FROM/bundle, FROM/vectors, FROM/item_counts, FROM/catalogue
    Writes: FROM/worker.log

    \b
    Example:
      rankstream serve shop.csv --from run
    """
    bundle = run / "bundle"
    if not bundle.is_dir():
        raise Refusal(f"there is no bundle {bundle}; make it with `rankstream train LOG --out {run}`, or export it")
    if not is_free(port):
        raise Refusal(
            f"something listens on port {port} of 127.0.0.1 already, another `rankstream serve` or a Kafka; end it, or "
            f"name another with --port and give requests --bootstrap-servers 127.0.0.1:PORT"
        )
    kinds = (BrokerError, ClientError, LogError, ManifestError, TopicsRefusedError, WorkerStoppedError)
    with (
        refusing(*kinds),
        tempfile.TemporaryDirectory(prefix="rankstream-serve-") as state,
        suppress(KeyboardInterrupt),
    ):
        manifest = read_manifest(bundle)
        opened = opened_log(log, replace(log_options, sort=True))  # as it happened, however it lies
        signal.signal(signal.SIGTERM, _interrupt)  # ends broker and worker as Ctrl-C does
        with EmbeddedBroker(port) as broker:
            settings = _settings(run, broker.bootstrap_servers, Path(state))
            asyncio.run(prepare_topics(settings, create=True))
            sent = _send(settings, opened, manifest.vocabulary)
            print_skipped(opened.skipped)
            with WorkerProcess(worker_flags(settings), run / WORKER_LOG) as worker:
                _catch_up(settings, sent.actions, worker)
                click.echo(
                    f"serving {manifest.model_version} at {settings.bootstrap_servers}: {sent.actions:,} actions known"
                )
                click.echo(f"ask in another terminal: {_request(sent, port)}")
                click.echo("Ctrl-C ends it; the broker and the users' states are forgotten then")
                while True:
                    broker.check()
                    worker.check()
                    time.sleep(0.5)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _settings(run: Path, servers: str, state: Path) -> Settings:
    users = run / "vectors" / "users"
    return Settings(
        bootstrap_servers=servers,
        partitions=1,
        session_timeout_s=SESSION_TIMEOUT_S,
        heartbeat_interval_s=1.0,
        state_dir=state,
        bundle=run / "bundle",
        user_vectors=users if users.is_dir() else None,
        item_counts=run / "item_counts",  # of the first `rankstream embed` on
        catalogue=run / "catalogue",  # of the first `rankstream catalogue import` on
        item_vectors=run / "vectors" / "items",  # likewise
    )


@dataclass
class Sent:
    """What was sent of the log."""

    actions: int = 0
    newest_ms: int = 0
    newest_user: Id = ""  # who acted then

    def add(self, arrivals: Arrivals) -> None:
        """Count a batch."""
        newest = int(arrivals.times_ms.argmax())
        self.actions += len(arrivals)
        if arrivals.times_ms[newest] >= self.newest_ms:
            self.newest_ms, self.newest_user = int(arrivals.times_ms[newest]), arrivals.user_ids[newest]


def _send(settings: Settings, opened: FileLog, vocabulary: Vocabulary) -> Sent:
    """Send the actions of the log that the model knows."""
    sent = Sent()
    with _progress() as progress, Producer(settings, carrier=WholeBatches) as producer:
        task = progress.add_task("sending the log", total=None)
        for arrivals in opened.batches(vocabulary, erasures=True):
            producer.send_actions(list(events_of(arrivals, vocabulary)))
            sent.add(arrivals)
            progress.update(task, completed=sent.actions, description=f"{sent.actions:,} actions sent")
    return sent


def _catch_up(settings: Settings, actions: int, worker: WorkerProcess) -> None:
    """Start the worker and wait until it has applied so many actions."""
    worker.start()
    with _progress() as progress:
        task = progress.add_task("the worker applies them", total=actions)
        show = partial(progress.update, task)
        wait_applied(settings, actions, worker, CATCH_UP_DEADLINE_S, lambda applied: show(completed=applied))


def _progress() -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _request(sent: Sent, port: int) -> str:
    """Return the command that asks for a feed of the newest user, as of then where the log has ended long ago."""
    words = ["rankstream request --limit 10 --user", shlex.quote(str(sent.newest_user))]
    if time.time() * 1000 - sent.newest_ms > OLD_MS:
        words.append(f"--at {datetime.fromtimestamp(sent.newest_ms // 1000 + 1, UTC):%Y-%m-%dT%H:%M:%S}")
    if port != PORT:
        words.append(f"--bootstrap-servers 127.0.0.1:{port}")
    return " ".join(words)
