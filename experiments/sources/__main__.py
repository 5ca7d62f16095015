"""`python -m rankstream.experiments.sources --data DIR`: what other sources of candidates would find, and rank first.

Requests with a limit, each just before a user's first positive on an item of the training. All arms answer the same
ones, with the default training's model and with item counts that are made anew every few days; no score depends on the
other candidates, so what all arms propose is scored once. A table says what share of what was wanted is among the first
100 and the limit of each arm, and among its first 10 by score, with intervals beside the first arm, paired by request.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rankstream.bundles.item_counts import counts_recipe_of
from rankstream.events.ids import plain_ids
from rankstream.experiments.feed.logs import LOGS, FeedLog
from rankstream.experiments.feed.product import TRAINS, Product, sources, trained
from rankstream.experiments.feed.task import Task
from rankstream.experiments.markdown import mean_and_interval, table
from rankstream.experiments.options import WORK_HELP, logs_option, refusals
from rankstream.experiments.runs import WORK, stop_politely
from rankstream.experiments.sources.arms import Arms, OfTheDefault, orders_at
from rankstream.experiments.sources.requests import Request, requests_of, scope_at, seen, state_of
from rankstream.experiments.sources.segments import segments_of
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import whole_file
from rankstream.features.ids import Keys, id_key, id_keys
from rankstream.features.join import DAY_MS, match_user
from rankstream.features.schema import Ints
from rankstream.graph.topics import Topics, topics_of_vectors
from rankstream.metrics.arrays import Bools, Floats
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.models.items.item_counts import item_counts
from rankstream.ranking.bundle import BundleRefusedError, open_bundle
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.serving import ranker_of
from rankstream.ranking.utility import utility
from rankstream.retrieval.source import CandidateSource

TABLES = ("queries", "unions", "popular", "biased")
CLUSTERS = 50  # of item vectors, as topics
METRICS = ("recall@100", "recall@limit", "HIT@10")
FIRST, FEW = 10, 100
HOUR_MS = 3_600_000


class Asked:
    """One log, asked with the rankers that there were at each time."""

    def __init__(self, log: FeedLog, data: Path, product: Product, task: Task, refresh_days: float, limit: int) -> None:
        self.task, self.limit, self.every_ms = task, limit, int(refresh_days * DAY_MS)
        self.bundle, self.users = open_bundle(product.bundle), EmbeddingTable.open(product.users)
        self.segments = segments_of(log.name, data, self.bundle.items)
        self._rankers: dict[int, tuple[Ranker, OfTheDefault]] = {}

    def ranker_at(self, at_ms: int) -> tuple[Ranker, OfTheDefault]:
        """Return the ranker with the counts of the last refresh."""
        boundary_ms = at_ms // self.every_ms * self.every_ms
        if boundary_ms <= self.bundle.manifest.trained_until_ms:
            boundary_ms = 0
        if boundary_ms not in self._rankers:
            counts = None
            if boundary_ms:
                past, recipe = self.task.log.split_at(boundary_ms)[0], counts_recipe_of(self.bundle.manifest)
                counts = item_counts(past, self._items, recipe, boundary_ms - 1)
            ranker = ranker_of(self.bundle, self.users, counts=counts)
            self._rankers[boundary_ms] = ranker, OfTheDefault.of(ranker, self._topics)
        return self._rankers[boundary_ms]

    def answers(self, request: Request, name: str) -> Iterator[dict[str, Any]]:
        """Yield a row for each arm of a table: where it has what was wanted."""
        log, (ranker, of) = self.task.log, self.ranker_at(request.at_ms)
        user_key = id_key(request.user_id)
        state = state_of(log, request, ranker.offline)
        user = match_user(state, user_key, request.at_ms, ranker.offline, request.at_ms)
        arms = self._arms(of, request.at_ms, name)
        hidden, scope = seen(log, request), scope_at(request, user.excluded)

        def proposed(source: CandidateSource) -> Keys:
            keys = id_keys(source.propose(user, self.limit, scope).ids)
            unseen: Keys = keys[~np.isin(keys, hidden)]
            return unseen

        found = {arm: proposed(source) for arm, source in arms.items()}
        union = np.unique(np.concatenate(list(found.values())))
        scores = utility(ranker.backend.score(ranker.join(user, union, ranker.offline, 0)), ranker.weights)
        for arm, keys in found.items():
            at = np.flatnonzero(keys == np.uint64(request.wanted))
            mine = scores[np.searchsorted(union, keys)]
            above = int(np.count_nonzero(mine > mine[at[0]])) if len(at) else None
            hits = (len(at) and at[0] < FEW, len(at), above is not None and above < FIRST)
            values = {metric: float(bool(hit)) for metric, hit in zip(METRICS, hits, strict=True)}
            yield {"table": name, "arm": arm, "user": str(request.user_id), **values}

    def _arms(self, of: OfTheDefault, at_ms: int, name: str) -> Arms:
        if name == "popular":
            orders = orders_at(self.task.log, self.bundle.items, self._is_positive, at_ms // HOUR_MS * HOUR_MS)
            return of.popular(orders, self.segments)
        return of.biased if name == "biased" else of.unions() if name == "unions" else of.queries()

    @cached_property
    def _topics(self) -> Mapping[str, Topics]:
        topics = {"clusters": topics_of_vectors(self.bundle.items, CLUSTERS)}
        if self.segments is not None:
            topics["segments"] = Topics(np.asarray(self.bundle.items.keys), self.segments)
        return topics

    @cached_property
    def _items(self) -> ItemTable:
        ids = plain_ids(self.bundle.items.ids(np.arange(len(self.bundle.items))))
        return ItemTable(ids, np.zeros((len(ids), 0), np.float32))

    def _is_positive(self, codes: Ints) -> Bools:
        positive: Bools = (self.task.positives >> codes & 1).astype(np.bool_)
        return positive


def measure(
    log: FeedLog, data: Path, work: Path, run: Path | None, name: str, asked: tuple[int, int, float, int]
) -> Path:
    """Train and ask what was not yet; return a table's outcomes file. ``asked``: requests, limit, refresh, seed."""
    requests, limit, refresh_days, seed = asked
    path = work / "sources" / log.name / f"{name}-{requests}-{limit}-{refresh_days:g}-{seed}.parquet"
    if not path.exists():
        task = Task.open(log, data)
        folder = work / "feed" / log.name / f"trained-{sources(TRAINS)}" if run is None else run
        product = trained(log, data, task.cut_ms, folder) if run is None else Product(run)
        one = Asked(log, data, product, task, refresh_days, limit)
        rows = [row for request in requests_of(task, requests, seed) for row in one.answers(request, name)]
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            pq.write_table(pa.Table.from_pylist(rows), beside)
    return path


def written(path: Path, name: str) -> str:
    """Return one table of a file of outcomes: each arm, and less the first, paired by request."""
    rows = [row for row in pq.read_table(path).to_pylist() if row["table"] == name]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    users = [row["user"] for row in rows if row["arm"] == arms[0]]
    values = {(arm, metric): np.array([row[metric] for row in rows if row["arm"] == arm]) for arm in arms
              for metric in METRICS}  # fmt: skip
    lines = []
    for arm in arms:
        own = [values[arm, metric] for metric in METRICS]
        ahead = [] if arm == arms[0] else [values[arm, metric] - values[arms[0], metric] for metric in METRICS]
        lines.append([arm, *(_cell(one, users) for one in (*own, *ahead)), *[""] * (len(METRICS) - len(ahead))])
    head = [f"{len(users):,} requests", *METRICS, *(f"less the first: {metric}" for metric in METRICS)]
    return table(head, lines)


def _cell(values: Floats, users: list[str]) -> str:
    return mean_and_interval(float(values.mean()), bootstrap_interval(values, users, seed=0))


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of all logs.")
@logs_option(tuple(LOGS))
@click.option("--table", "name", type=click.Choice(TABLES), default=TABLES[0], show_default=True, help="Which arms.")
@click.option("--requests", type=click.IntRange(1), default=500, show_default=True, help="Of a log.")
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, help="Items that an arm proposes.")
@click.option("--refresh-days", type=float, default=7.0, show_default=True, help="Between two counts of the items.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of which requests.")
@click.option("--run", type=click.Path(path_type=Path), help="A training of the one log, in place of a new one.")
@click.option("--work", type=click.Path(path_type=Path), default=WORK, show_default=True, help=WORK_HELP)
def main(
    data: Path, logs: tuple[str, ...], name: str, requests: int, limit: int, refresh_days: float, seed: int,
    run: Path | None, work: Path,
) -> None:  # fmt: skip
    """Hold sources of candidates against each other, log by log; what is there is not made again."""
    stop_politely()
    for log in (LOGS[one] for one in logs):
        with refusals(BundleRefusedError):
            asked = requests, limit, refresh_days, seed
            path = measure(log, data.resolve(), work.resolve(), None if run is None else run.resolve(), name, asked)
            click.echo(f"{log.title}\n\n{written(path, name)}\n")


if __name__ == "__main__":
    main()
