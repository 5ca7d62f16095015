"""`python -m rankstream.experiments.feed --data DIR`: train by default, rank beside the baselines, judge.

Each log is one run of the registry (``runs.py``); its parts are kept under ``WORK/feed/LOG``: the trainings of product
and rivals, and the outcomes of each replay. What was made by other code is made again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from rankstream.content.catalogue import publish
from rankstream.evaluation.leakage import LeakError
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.evaluation.time_text import time_text
from rankstream.experiments.feed.items import MAKES, catalogue_of
from rankstream.experiments.feed.judged import judged
from rankstream.experiments.feed.logs import LOGS, FeedLog
from rankstream.experiments.feed.product import RANKS, TRAINS, Product, sources, trained
from rankstream.experiments.feed.ranked import joined, read_ranked
from rankstream.experiments.feed.replayed import replay_products
from rankstream.experiments.feed.rivals.base import Entry, ranked_by
from rankstream.experiments.feed.rivals.table import ABLATIONS, MAKES_RIVALS, RIVALS
from rankstream.experiments.feed.tables import DEFAULT, WITH_ITEMS, WITH_USERS, written
from rankstream.experiments.feed.task import TEST_SHARE, Task
from rankstream.experiments.feed.users import FILES
from rankstream.experiments.options import WORK_HELP, RefusedError, logs_option, refusals, some_of
from rankstream.experiments.runs import RESULTS, WORK, Runs, stop_politely
from rankstream.ranking.bundle import BundleRefusedError

SIZES = {"small": 500, "full": 2_000}  # queries of a log; of shown lists, all are ranked


@dataclass(frozen=True)
class FeedRun:
    """What a result belongs to."""

    log: str
    queries: int
    product: str  # the name of the default training's row
    code: str  # a digest of what trains and ranks
    bundles: Mapping[str, str]  # further rows, and where they lie
    rivals: tuple[str, ...]
    rivals_code: str  # a digest of what trains and ranks these
    seed: int = 1
    test_share: float = TEST_SHARE
    items: bool = False  # a row that was trained with a catalogue stands first
    users: bool = False  # or one that was trained with a file of users
    ablations: bool = False  # rivals are the default itself, each without a part
    trainings: int = 1  # of the default, each with a seed of its own: their means are its row


def measured(config: FeedRun, _: Path, log: FeedLog, data: Path, work: Path) -> dict[str, Any]:
    """Train and rank what is not there yet, in folders that other configs share; return the metrics."""
    task, folder = Task.open(log, data), work / "feed" / log.name
    products = {config.product: trained(log, data, task.cut_ms, folder / f"trained-{sources(TRAINS)}")}
    again = {
        f"{config.product}, seed {seed}": trained(
            log, data, task.cut_ms, folder / f"trained-{sources(TRAINS)}-seed{seed}", [f"--seed={seed}"]
        )
        for seed in range(1, config.trainings)
    }
    if config.items:
        products = {WITH_ITEMS: _trained_with_items(log, data, task.cut_ms, folder)} | products
    if config.users:
        products = {WITH_USERS: _trained_with_users(log, data, task.cut_ms, folder)} | products
    products |= {name: Product(Path(path)) for name, path in config.bundles.items()}
    outcomes = []
    for name, product in (products | again).items():
        outcomes.append(folder / f"{name}-{config.code}-{config.queries}.parquet")
        replay_products(task, {name: product}, config.queries, config.seed, outcomes[-1])
    rivals = {}
    for name in config.rivals:
        rival, kept = (RIVALS | ABLATIONS)[name], folder / f"{name}-{config.rivals_code}"
        entry = Entry(rival.row, task, products[config.product], config.queries, config.seed, kept)
        rivals[rival.row] = ranked_by(rival, entry)
        outcomes.append(entry.outcomes)
    ranked = joined(read_ranked(path) for path in outcomes)
    chosen = ranked.with_choice()
    return {
        "log": {
            "actions": len(task.log),
            "users": len(task.log.by_user.user_ids),
            "items": len(task.catalogue),
            "trained_until": time_text(task.cut_ms),
            "shown": task.shown,
            "exclude_seen": task.exclude_seen,
            "known_targets": task.known_share,
            "queries": len(ranked),
            "queries_judged": len(chosen),
        },
        "products": {
            name: {"seconds": product.seconds, "peak_rss_mb": product.peak_rss_mb} for name, product in products.items()
        },
        "rivals": rivals,
    } | judged(chosen, task, list(products), trainings={config.product: (config.product, *again)} if again else {})


def _trained_with_items(log: FeedLog, data: Path, until_ms: int, folder: Path) -> Product:
    """Train as by default, but for `--items`; what was made of other items is made again."""
    code = sources((*TRAINS, "experiments/feed/items.py"))
    catalogue = folder / f"catalogue-{code}"
    if not catalogue.exists():
        publish(catalogue, catalogue_of(log.name, data))
    return trained(log, data, until_ms, folder / f"trained-{code}-items", [f"--items={catalogue.resolve()}"])


def _trained_with_users(log: FeedLog, data: Path, until_ms: int, folder: Path) -> Product:
    """Train as by default, but for `--users`; what was made with other columns is made again."""
    code = sources((*TRAINS, "experiments/feed/users.py"))
    return trained(log, data, until_ms, folder / f"trained-{code}-users", FILES[log.name].flags(data))


def _bundles(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    for name, _, folder in pairs:
        if not (name and (Path(folder) / "bundle").is_dir()):
            raise RefusedError(f"--bundle {name}={folder} is no NAME=FOLDER of a `rankstream train --out FOLDER`")
    return {name: str(Path(folder).resolve()) for name, _, folder in pairs}


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of all logs.")
@logs_option(LOGS)
@click.option(
    "--rivals", callback=some_of(RIVALS, "rival"), default=",".join(RIVALS), show_default=True, metavar="NAME,NAME,...",
    help='Rows besides the product and the baselines; "" for none.',
)  # fmt: skip
@click.option("--size", type=click.Choice(list(SIZES)), default="small", show_default=True)
@click.option(
    "--bundle", "bundles", callback=_bundles, multiple=True, metavar="NAME=FOLDER",
    help="One more row: what `rankstream train --out FOLDER` made of one log, until the same cut; repeatable.",
)  # fmt: skip
@click.option(
    "--items", is_flag=True,
    help="Judge what items add: one more row, trained with --items. A result of its own; logs without items are left "
    "out.",
)  # fmt: skip
@click.option(
    "--users", is_flag=True,
    help="Judge what users add: the same, trained with --users.",
)  # fmt: skip
@click.option(
    "--ablations", is_flag=True,
    help="Judge what each part is worth: rows of the default's ranker trained without it, and no rivals. A result of "
    "its own.",
)  # fmt: skip
@click.option(
    "--trainings", type=click.IntRange(1, 9), default=1, show_default=True,
    help="Of the default, each with a seed of its own (from 0 on); its row is their mean, query by query.",
)  # fmt: skip
@click.option("--name", default=DEFAULT, show_default=True, help="Of the default training's row and of the results.")
@click.option("--work", type=click.Path(path_type=Path), default=WORK, show_default=True, help=WORK_HELP)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of results.")
def main(
    data: Path,
    logs: tuple[str, ...],
    rivals: tuple[str, ...],
    size: str,
    bundles: dict[str, str],
    items: bool,
    users: bool,
    ablations: bool,
    trainings: int,
    name: str,
    work: Path,
    results: Path,
) -> None:
    """Judge the feed of `rankstream train` with its defaults, log by log; a run that was stopped goes on."""
    stop_politely()
    runs, code, rivals_code = Runs(results, work), sources(RANKS), sources(MAKES_RIVALS)
    if items + users + ablations > 1:
        raise RefusedError("--items, --users and --ablations are tables of their own; give one of them")
    known, table = (MAKES, "feed-items") if items else (FILES, "feed-users") if users else (LOGS, "feed")
    if ablations:
        table, rivals = "feed-ablations", tuple(ABLATIONS)
    for log in (LOGS[one] for one in logs if one in known):
        config = FeedRun(
            log.name, SIZES[size], name, code, bundles, rivals, rivals_code,
            items=items, users=users, ablations=ablations, trainings=trainings,
        )  # fmt: skip
        with refusals(LeakError, ReplayError, BundleRefusedError):
            result = runs.run(
                f"{table}-{size}/{log.name}-{name}", config, partial(measured, log=log, data=data, work=work)
            )
        click.echo(written(log, result["metrics"]) + "\n")


if __name__ == "__main__":
    main()
