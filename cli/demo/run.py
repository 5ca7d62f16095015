"""The demo from beginning to end: log, models, bundle, broker, worker, live traffic, report."""

import asyncio
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import gmtime, monotonic, strftime
from typing import Any

import numpy as np
from rich.console import Console

from rankstream.bundles.parts import ExportError
from rankstream.cli.demo.baselines import baseline_ranks
from rankstream.cli.demo.data import ITEMS_NAME, NoDataError, find_log, write_items
from rankstream.cli.demo.live import LiveTraffic, NoAnswersError
from rankstream.cli.demo.new_films import NewFilms, ask, publish_new_films
from rankstream.cli.demo.no_realtime import no_realtime_ranker
from rankstream.cli.demo.report import verdict_on, write_report
from rankstream.cli.demo.scoreboard import NO_REALTIME, Scoreboard
from rankstream.cli.demo.screen import LiveScreen, Stages, bar, metrics_table
from rankstream.cli.demo.traffic import events_of, plan
from rankstream.cli.options.settings import CONNECTED
from rankstream.cli.worker_process import WorkerProcess, WorkerStoppedError, wait_applied, worker_flags
from rankstream.events.arrivals import LogError
from rankstream.events.log import EventLog
from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import read_log
from rankstream.models.recipes.bundle import MOVIELENS, BundleRecipe
from rankstream.models.recipes.train import train_bundle
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.streams.broker import BrokerError, EmbeddedBroker
from rankstream.streams.clients.connect import ClientError, connect_admin
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import FeedReader
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.settings import Settings, in_sections
from rankstream.streams.topics import TopicsRefusedError, prepare_topics

SESSION_TIMEOUT_S = 6.0  # the embedded broker's group joins take half of it
CATCH_UP_DEADLINE_S = 120.0
REQUESTS, PATIENCE = 3_000, 2  # for the ranker to learn from, and evaluations: `train` takes more, and minutes longer


@dataclass(frozen=True)
class DemoConfig:
    """What a person may choose."""

    folder: Path = Path("demo-run")  # everything is written below it
    data: Path | None = None  # folder with ml-100k.inter; downloaded if None
    requests: int = 400
    train_fraction: float = 0.8  # of the actions, in time
    seed: int = 7
    partitions: int = 2
    brokers: Settings | None = None  # how a Kafka that is there is reached; an embedded broker is started if None


class DemoError(Exception):
    """The demo can't go on; the message names the reason and a remedy."""


def run_demo(config: DemoConfig, console: Console) -> Path:
    """Run the whole demo; return the report's path. Raises ``DemoError``."""
    try:
        return _run(config, console)
    except (
        NoDataError, LogError, ExportError, BundleRefusedError, BrokerError, ClientError,
        TopicsRefusedError, WorkerStoppedError, NoAnswersError,
    ) as exc:  # fmt: skip
        raise DemoError(str(exc)) from exc


def _run(config: DemoConfig, console: Console) -> Path:
    stages = Stages(console)
    if config.brokers is not None:
        connect_admin(config.brokers).close()  # who named the wrong ones knows before a minute of training
    config.folder.mkdir(parents=True, exist_ok=True)
    with stages.stage("Read MovieLens-100K as actions: 5 stars save, 4 click, 3 view, 1-2 hide"):
        path = find_log(config.data, config.folder / "data")
        log = read_log(open_log(path, LogOptions(kind="movielens")))
        items = write_items(path, config.folder)
        live_from = int(config.train_fraction * len(log))
        stages.note(f"{len(log):,} actions of {len(np.unique(log.user_ids)):,} users on {len(log.items()):,} films")
    with stages.stage(f"Train on the first {live_from:,} actions and export a bundle"):
        past = log.rows(slice(live_from))
        train(config, past, stages)
        films = publish_new_films(items, config.folder / "work", config.folder / "vectors" / "items", past)
    return _serve(config, log, live_from, films, stages)


def recipe() -> BundleRecipe:
    """Return what `rankstream train` takes, made shorter."""
    encoders, ranker = MOVIELENS.encoders, MOVIELENS.ranker
    users, sessions, of_ranker = encoders.pinnerformer, encoders.hiertcn, ranker.training
    return replace(
        MOVIELENS,
        encoders=replace(
            encoders,
            pinnerformer=replace(users, fit=replace(users.fit, patience=PATIENCE)),
            hiertcn=replace(sessions, fit=replace(sessions.fit, patience=PATIENCE)),
        ),
        ranker=replace(
            ranker,
            max_requests=REQUESTS,
            training=replace(of_ranker, fit=replace(of_ranker.fit, patience=PATIENCE)),
        ),
    )


def train(config: DemoConfig, past: EventLog, stages: Stages) -> None:
    """Train small models on the past and write bundle and user vectors below the demo's folder."""
    for name in ("bundle", "vectors", "work", "state"):
        shutil.rmtree(config.folder / name, ignore_errors=True)
    with bar(stages.console) as progress:
        trained = train_bundle(
            past,
            recipe(),
            config.folder / "bundle",
            config.folder / "vectors" / "users",
            config.folder / "work",
            progress=progress,
        )
    stages.note(f"model {trained.manifest.model_version}; vectors of {trained.refreshed.users:,} users")


def _serve(config: DemoConfig, log: EventLog, live_from: int, films: NewFilms | None, stages: Stages) -> Path:
    board, facts = Scoreboard(), dict[str, Any]()
    past, live = log.rows(slice(live_from)), len(log) - live_from
    with brokers_of(config) as brokers:
        settings = demo_settings(config, brokers)
        worker = WorkerProcess(worker_flags(settings), config.folder / "worker.log")
        with stages.stage("Let the past stream into a broker, start a worker and let it catch up"):
            asyncio.run(prepare_topics(settings))
            facts["produced_per_s"] = _produce(settings, past)
            worker.start()
            facts["catch_up_s"] = _catch_up(settings, len(past), worker)
            stages.note(f"{len(past):,} actions produced, {facts['produced_per_s']:,.0f} a second")
            stages.note(f"all applied {facts['catch_up_s']:.1f} s after the worker's start, group join included")
        with worker, stages.stage(f"Live: the last {live:,} actions, {config.requests} feeds requested between them"):
            facts |= _live(config, settings, log, live_from, films, board, worker, stages.console)
        stages.note(f"worker stopped with exit code {worker.exit_code}")
        if config.brokers is not None:
            stages.note(
                f"its topics stay on {settings.bootstrap_servers}; their names begin with {settings.topic_prefix}"
            )
    facts |= {"stages_s": stages.took_s, "command": shlex.join(["rankstream", *sys.argv[1:]])}
    path = write_report(board, facts, config.folder)
    _summary(board, path, stages.console)
    if "new_films" in facts:
        stages.console.print(facts["new_films"], highlight=False)
    page = shlex.join(["rankstream", "live", *live_words(config.folder), "--open"])
    stages.console.print(f"See it follow your clicks: {page}", highlight=False, soft_wrap=True)
    return path


def live_words(folder: Path) -> list[str]:
    """Return what `rankstream live` needs to show the bundle of a demo, with titles where these were found."""
    tables = {"bundle": folder / "bundle", "user-vectors": folder / "vectors" / "users", "state-dir": folder / "state"}
    items = {"items": folder / ITEMS_NAME} if (folder / ITEMS_NAME).is_file() else {}
    return [word for name, path in (tables | items).items() for word in (f"--{name}", str(path))]


@contextmanager
def brokers_of(config: DemoConfig) -> Iterator[Settings]:
    """Give the way to the brokers: those that were named, or one that lives as long. Raises ``BrokerError``."""
    if config.brokers is not None:
        yield config.brokers
        return
    with EmbeddedBroker() as broker:
        yield Settings(bootstrap_servers=broker.bootstrap_servers)


def demo_settings(config: DemoConfig, brokers: Settings) -> Settings:
    """Return the settings of worker and clients: the brokers', and all else the demo's own.

    On a Kafka that others use, group and topics have names that nobody else has, and another run has others again.
    """
    reached = {known.name: getattr(brokers, known.name) for known in in_sections(CONNECTED)}
    named = "" if config.brokers is None else f"-{strftime('%Y%m%d-%H%M%S', gmtime())}"
    own = {"topic_prefix": f"rankstream-demo{named}."} if named else {}
    return Settings(
        **(reached | own),
        replication_factor=brokers.replication_factor,
        app_id=f"rankstream-demo{named}",
        partitions=config.partitions,
        session_timeout_s=SESSION_TIMEOUT_S,
        heartbeat_interval_s=1.0,
        state_dir=config.folder / "state",
        bundle=config.folder / "bundle",
        user_vectors=config.folder / "vectors" / "users",
        engine="plain",  # compiled, the first demo of an installation would wait 24 s for 1 s of actions
        item_vectors=config.folder / "vectors" / "items",
    )


def _produce(settings: Settings, past: EventLog) -> float:
    """Produce the past; return actions per second."""
    begun = monotonic()
    with Producer(settings, carrier=WholeBatches) as producer:
        for event in events_of(past):
            producer.send_action(event)
    return len(past) / (monotonic() - begun)


def _catch_up(settings: Settings, actions: int, worker: WorkerProcess) -> float:
    """Wait until the worker has applied so many actions; return the seconds since its start."""
    try:
        wait_applied(settings, actions, worker, CATCH_UP_DEADLINE_S)
    except BaseException:
        worker.stop()
        raise
    return monotonic() - worker.started_at_s


def _live(
    config: DemoConfig,
    settings: Settings,
    log: EventLog,
    live_from: int,
    films: NewFilms | None,
    board: Scoreboard,
    worker: WorkerProcess,
    console: Console,
) -> dict[str, Any]:
    """Send the live part and score the feeds; return the facts of the report."""
    steps = list(plan(log, live_from, config.requests, config.seed))
    no_realtime = no_realtime_ranker(settings, log.rows(slice(live_from)))
    begun = monotonic()
    with Producer(settings) as producer, FeedReader(settings, from_beginning=True) as reader:
        baselines = baseline_ranks(log, steps)
        traffic = LiveTraffic(producer, reader, board, no_realtime.rank, baselines, no_realtime.past)
        with LiveScreen(console, len(steps)) as screen:

            def show(sent: int) -> None:
                if sent % 50 == 0 or sent == len(steps):
                    screen.show(board, sent, folder_bytes(config.folder / "state"))

            sent = traffic.run(steps, show, worker.check)
        took = monotonic() - begun
        new = {} if films is None else {"new_films": ask(producer, reader, films, steps)}
    return new | {
        "live_actions": sent,
        "live_events_per_s": sent / took,
        "candidates_median": float(np.median([len(step.candidates) for step in steps if step.candidates])),
        "state_bytes": folder_bytes(config.folder / "state"),
        "users": len(np.unique(log.user_ids)),
        "model_version": no_realtime.serving.current.model_version,
    }


def folder_bytes(folder: Path) -> int:
    """Return what the files below a folder take; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _summary(board: Scoreboard, path: Path, console: Console) -> None:
    """Print the result in a few lines."""
    console.print()
    console.print(metrics_table(board))
    for baseline in (board.best_baseline(), NO_REALTIME):
        console.print(
            f"By HIT@10 the hybrid is {verdict_on(baseline, board.lead(baseline, board.hits))}.", highlight=False
        )
    console.print(
        f"{len(board.scored):,} feeds, {board.errors} errors; produced to consumed p50 {board.latency_ms(0.5):,.0f} "
        f"ms, p99 {board.latency_ms(0.99):,.0f} ms; {board.fresh_share():.1%} knew the newest action.",
        highlight=False,
    )
    console.print(f"Report: {path}", highlight=False)
