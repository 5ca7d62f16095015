"""`python -m rankstream.experiments.queries --data DIR`: which query of a user finds what the user then wants.

The product's replay asks each query for the whole catalogue, just before each of the same positives; a table says what
share of them is among its first 20, 100 and 500, with intervals beside the query that serves (``recent_likes.py``).
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq

from rankstream.evaluation.leakage import LeakError
from rankstream.evaluation.replay.own_scores import OwnScores
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.experiments.feed.logs import LOGS, FeedLog
from rankstream.experiments.feed.product import TRAINS, sources, trained
from rankstream.experiments.feed.replayed import replay_to, variant_of
from rankstream.experiments.feed.rivals import sequences
from rankstream.experiments.feed.rivals.base import Entry
from rankstream.experiments.feed.task import Task
from rankstream.experiments.markdown import mean_and_interval, table
from rankstream.experiments.options import WORK_HELP, logs_option, refusals
from rankstream.experiments.queries.of_the_default import queries_of
from rankstream.experiments.queries.two_tower import TwoTower
from rankstream.experiments.runs import WORK, stop_politely
from rankstream.metrics.arrays import Floats
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.ranking.bundle import BundleRefusedError

KS = (20, 100, 500)
TWO_TOWER = "plain two-tower"
NAMES = tuple(name for name in LOGS if name != "kuairand")  # a log of shown lists retrieves nothing


def measure(log: FeedLog, data: Path, work: Path, queries: int, seed: int, two_tower: bool) -> str:
    """Train what is not there yet, replay, and return the table of one log."""
    task, folder = Task.open(log, data), work / "queries" / log.name
    product = trained(log, data, task.cut_ms, work / "feed" / log.name / f"trained-{sources(TRAINS)}")
    path = folder / f"outcomes-{queries}{'' if two_tower else '-own'}.parquet"
    entry = Entry(TWO_TOWER, task, product, queries, seed, folder / "two-tower")
    note = entry.folder / "note.txt"
    entry.folder.mkdir(parents=True, exist_ok=True)
    asked = queries_of(product.folder)
    if not path.exists():
        own = []
        if two_tower:
            model, ended = sequences.trained(entry, TwoTower)
            own = [OwnScores(sequences.SequenceScorer(TWO_TOWER, model, task))]
            note.write_text(f"\n\n{TWO_TOWER}: {ended}")
        variants = [variant_of(name, product, task.cut_ms, backend=one) for name, one in asked.items()]
        replay_to(path, task, replace(task.plan(queries, seed), ks=KS, own=tuple(own)), variants)
    return written(path, [*asked, *([TWO_TOWER] if two_tower else [])]) + (note.read_text() if two_tower else "")


def written(path: Path, names: list[str]) -> str:
    """Return an outcomes file as a table: recall by query, and each less the first, paired by request."""
    rows = pq.read_table(path).to_pylist()
    of = {name: {row["query"]: row for row in rows if row["variant"] == name} for name in names}
    asked = sorted(of[names[0]])
    users = [of[names[0]][query]["user_id"] for query in asked]
    values = {
        (name, k): np.array([of[name][query][f"hit@{k}"] or 0.0 for query in asked]) for name in names for k in KS
    }
    lines = [
        [
            name,
            *(_cell(values[name, k], users) for k in KS),
            *("" if name == names[0] else _cell(values[name, k] - values[names[0], k], users) for k in KS),
        ]
        for name in names
    ]
    head = [f"{len(asked):,} queries", *(f"recall@{k}" for k in KS), *(f"less the first: @{k}" for k in KS)]
    return table(head, lines)


def _cell(values: Floats, users: list[Any]) -> str:
    return mean_and_interval(float(values.mean()), bootstrap_interval(values, users, seed=0))


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of all logs.")
@logs_option(NAMES)
@click.option("--queries", type=click.IntRange(1), default=500, show_default=True, help="Of a log.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the two-tower, and of which queries.")
@click.option(
    "--two-tower/--no-two-tower", default=True, show_default=True,
    help="Train one beside them, which takes up to four minutes a log.",
)  # fmt: skip
@click.option("--work", type=click.Path(path_type=Path), default=WORK, show_default=True, help=WORK_HELP)
def main(data: Path, logs: tuple[str, ...], queries: int, seed: int, two_tower: bool, work: Path) -> None:
    """Hold the queries that retrieval can ask with against each other, log by log; what is there is not made again."""
    stop_politely()
    run = partial(measure, data=data.resolve(), work=work.resolve(), queries=queries, seed=seed, two_tower=two_tower)
    for log in (LOGS[name] for name in logs):
        with refusals(LeakError, ReplayError, BundleRefusedError):
            click.echo(f"{log.title}\n\n{run(log)}\n")


if __name__ == "__main__":
    main()
