"""`python -m rankstream.experiments.interests --data DIR`: whether several interests find more than one vector.

Each way asks for the items nearest to its queries, just before each of the same positives after the cut, of users with
many positives; vectors are those of co-occurrence of what was done before it. A table says what share of the wanted
items is among the first 100 and 400, how much that differs from the last item's, paired, with intervals over users, and
how much of the catalogue all requests together are proposed among their first 100. With ``--pinnerformer`` the user's
vector of the default training stands beside, in the space of its own item tower.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from rankstream.experiments.feed.logs import LOGS, FeedLog
from rankstream.experiments.feed.product import TRAINS, sources, trained
from rankstream.experiments.feed.task import Task
from rankstream.experiments.interests.ways import CONFIG, Liked, ways
from rankstream.experiments.markdown import mean_and_interval, table
from rankstream.experiments.options import WORK_HELP, logs_option, refusals
from rankstream.experiments.runs import WORK, stop_politely
from rankstream.experiments.sources.requests import Request, requests_of
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, id_keys
from rankstream.features.schema import Floats, Ints
from rankstream.metrics.arrays import Floats as Scores
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.models.items.cooccurrence import ItemVectorConfig, train_item_vectors
from rankstream.models.recipes.run_folder import load_models
from rankstream.ranking.bundle import open_bundle
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.mix import mixed
from rankstream.retrieval.source import Proposals

KS = (100, 400)
PINNERFORMER = "PinnerFormer's user"


@dataclass(frozen=True)
class Asked:
    """A request of a user who liked much, and what the user had liked."""

    request: Request
    liked: Liked
    seen: Ints  # rows of items
    wanted: int  # row


def asked(task: Task, items: ItemTable, count: int, least: int, seed: int) -> Iterator[Asked]:
    """Yield up to ``count`` requests of users with at least ``least`` earlier positives on items with a vector."""
    log, positive = task.log, task.is_positive
    for request in requests_of(task, len(log), seed):
        rows = items.rows_of(log.item_keys[request.past])
        at = np.flatnonzero(positive[request.past] & (rows >= 0))[::-1]
        if len(at) < least:
            continue
        newest = at[: CONFIG.max_actions]
        liked = Liked(unit(items.vectors[rows[newest]]), request.at_ms - log.times_ms[request.past[newest]])
        wanted = int(items.rows_of(np.array([request.wanted], np.uint64))[0])
        yield Asked(request, liked, np.unique(rows[rows >= 0]), wanted)
        count -= 1
        if not count:
            return


def found(units: Floats, queries: Floats, shares: Floats, seen: Ints) -> list[Id]:
    """Return the first rows that all queries together find, each with its share of the places."""
    scores = queries @ units.T
    scores[:, seen] = -np.inf
    most = min(KS[-1], units.shape[0] - len(seen))
    orders = [np.argsort(-one, kind="stable")[:most].tolist() for one in scores]
    return list(mixed([Proposals(order, [""] * len(order)) for order in orders], shares.tolist(), KS[-1]).ids)


def pinnerformer(log: FeedLog, data: Path, task: Task, items: ItemTable, work: Path) -> tuple[EmbeddingTable, Floats]:
    """Return the users' vectors of the default training, and unit vectors of the items in their space."""
    product = trained(log, data, task.cut_ms, work / "feed" / log.name / f"trained-{sources(TRAINS)}")
    own = open_bundle(product.bundle).items
    vectors, _ = own.look_up(id_keys(items.ids.tolist()))
    with torch.no_grad():
        model = load_models(product.folder / "work").pinnerformer.eval()
        return EmbeddingTable.open(product.users), unit(model.encode_items(torch.from_numpy(vectors)).numpy())


def measured(log: FeedLog, data: Path, work: Path, asks: tuple[int, int, int], with_pinnerformer: bool) -> str:
    """Return the table of one log; ``asks`` are how many requests, of users with how many positives, and the seed."""
    task = Task.open(log, data)
    items = train_item_vectors(task.past, ItemVectorConfig())
    units, questions = unit(items.vectors), list(asked(task, items, *asks))
    orders: dict[str, list[list[Id]]] = {}
    for name, way in ways():
        drawn = (way(one.liked, np.random.default_rng([asks[2], number])) for number, one in enumerate(questions))
        orders[name] = [found(units, *of, one.seen) for of, one in zip(drawn, questions, strict=True)]
    if with_pinnerformer:
        users, tower = pinnerformer(log, data, task, items, work)
        keys = id_keys([one.request.user_id for one in questions])
        queries = unit(users.look_up(keys)[0])
        even = np.ones(1, np.float32)
        orders[PINNERFORMER] = [
            found(tower, query[None], even, one.seen) for query, one in zip(queries, questions, strict=True)
        ]
    return written(orders, questions, len(items))


def written(orders: Mapping[str, list[list[Id]]], questions: list[Asked], num_items: int) -> str:
    """Return what each way found as a table, and less the first."""
    users = [str(one.request.user_id) for one in questions]
    lines, first = [], dict[int, Scores]()
    for name, found_of in orders.items():
        pairs = list(zip(found_of, questions, strict=True))
        hits = {k: np.array([one.wanted in order[:k] for order, one in pairs], np.float64) for k in KS}
        first = first or hits
        less = ["" if first is hits else _cell(hits[k] - first[k], users) for k in KS]
        proposed = len({row for order in found_of for row in order[: KS[0]]})
        lines.append([name, *(_cell(hits[k], users) for k in KS), *less, f"{proposed / num_items:.3f}"])
    head = [f"{len(users):,} requests", *(f"recall@{k}" for k in KS), *(f"less the first: @{k}" for k in KS)]
    return table([*head, f"coverage@{KS[0]}"], lines)


def _cell(values: Scores, users: list[str]) -> str:
    return mean_and_interval(float(values.mean()), bootstrap_interval(values, users, seed=0))


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of all logs.")
@logs_option(("music30", "ml1m"))
@click.option("--requests", type=click.IntRange(1), default=800, show_default=True, help="Of a log.")
@click.option("--least", type=click.IntRange(1), default=50, show_default=True, help="Positives of a user before it.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of which requests, and of what is sampled.")
@click.option("--pinnerformer/--no-pinnerformer", default=False, help="Beside them, after the default training.")
@click.option("--work", type=click.Path(path_type=Path), default=WORK, show_default=True, help=WORK_HELP)
def main(
    data: Path, logs: tuple[str, ...], requests: int, least: int, seed: int, pinnerformer: bool, work: Path
) -> None:
    """Hold ways to ask by a user's likes against each other, log by log."""
    stop_politely()
    run = partial(measured, data=data.resolve(), work=work.resolve(), asks=(requests, least, seed))
    for log in (LOGS[name] for name in logs):
        with refusals():
            click.echo(f"{log.title}\n\n{run(log, with_pinnerformer=pinnerformer)}\n")


if __name__ == "__main__":
    main()
