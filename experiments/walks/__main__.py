"""`python -m rankstream.experiments.walks --data DIR`: whether weights of edges or pruning let walks find more.

Walks on graphs of sessions, built of what a log held before the cut, answer the same questions of what came after it.
A table says what share of the wanted items is among the first 100 and 500, and how much that differs from the plain
graph's, paired by question, with intervals over users. Graphs differ in nothing but what a row names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import numpy as np

from rankstream.experiments.feed.logs import LOGS
from rankstream.experiments.feed.task import Task
from rankstream.experiments.markdown import mean_and_interval, table
from rankstream.experiments.options import logs_option, refusals
from rankstream.experiments.walks.asked import Asked, Question, SessionEdges
from rankstream.features.ids import Keys, id_keys
from rankstream.graph.build import BuiltGraph, GraphConfig, build_graph
from rankstream.graph.item_graph import ItemGraph
from rankstream.graph.membership_options import Edge, MembershipOptions
from rankstream.graph.topics import Topics, clustered, spreads
from rankstream.graph.walks import WalkConfig, walk
from rankstream.metrics.arrays import Floats, Ints
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.models.items.cooccurrence import ItemVectorConfig, train_item_vectors

KS = (100, 500)
DAY_MS = 86_400_000
HALF_LIVES = (3, 30)  # days
ACTIONS = {"buy": 4.0, "cart": 3.0, "fav": 3.0}  # what others weigh 1 beside
TOPICS = 50
SPREAD_SHARES = (0.1, 0.3)  # of the boards, those spread over most topics, that are left out
POWERS = (0.9, 0.7)
BIASES = (0.3, 0.6)


@dataclass(frozen=True)
class Row:
    """One way to build a graph."""

    name: str
    edges: tuple[Edge, ...] = ()
    half_life_ms: int | None = None
    config: GraphConfig = field(default_factory=GraphConfig)


def rows_of(edges: SessionEdges, topics: Topics, actions: Sequence[str]) -> Iterator[Row]:
    """Yield the plain graph, and what differs from it in one thing."""
    yield Row("plain")
    for days in HALF_LIVES:
        yield Row(f"half-life {days} d", half_life_ms=days * DAY_MS)
    if weighed := [name for name in actions if name in ACTIONS]:
        named = tuple(Edge(name, "", ACTIONS[name]) for name in weighed)
        yield Row(", ".join(f"{edge.action} {edge.weight:g}" for edge in named), named)
    _, boards = np.unique(edges.sessions, return_inverse=True)
    spread = spreads(boards, topics.of(edges.items))[np.bincount(boards) > 1]
    for share in SPREAD_SHARES:
        most = float(np.quantile(spread, 1 - share))
        yield Row(f"of at most {most:.1f} topics", config=GraphConfig(max_topics=max(1.0, most)))
    for power in POWERS:
        yield Row(f"nearest d^{power:g} boards", config=GraphConfig(degree_power=power))
    for bias in BIASES:
        yield Row(f"bias {bias:g} to the topic", config=GraphConfig(bias=bias))


def built(row: Row, edges: SessionEdges, topics: Topics, actions: Sequence[str], as_of_ms: int) -> BuiltGraph:
    """Build a row's graph."""
    of_action = {edge.action: edge.weight for edge in row.edges}
    weights = np.array([1.0, *(of_action.get(name, 1.0) for name in actions)])[edges.actions]
    options = MembershipOptions(edges=row.edges, half_life_ms=row.half_life_ms)
    pairs = edges.weighed(options.weights(weights, edges.times_ms, as_of_ms))
    return build_graph(pairs, as_of_ms, row.config, topics if row.config.by_topics else None)


def ranks(graph: ItemGraph, questions: Sequence[Question], config: WalkConfig) -> Floats:
    """Return the rank of what each question wanted among what walks find, from 0; infinite where it is not there."""
    found = np.full(len(questions), np.inf)
    for number, asked in enumerate(questions):
        rows, known = graph.rows(asked.newest)
        queries = rows[known]
        rng = np.random.default_rng([number, 0])
        items, scores = walk(graph.graph, queries, 1.0 / np.arange(1, len(queries) + 1), rng, config).scores(False)
        keys = graph.keys[items]
        kept = ~np.isin(keys, asked.seen)
        order = np.lexsort((items[kept], -scores[kept]))
        at = np.flatnonzero(keys[kept][order] == np.uint64(asked.wanted))
        found[number] = at[0] if len(at) else np.inf
    return found


def measured(task: Task, count: int, seed: int, config: WalkConfig) -> str:
    """Return the table of one log."""
    asked, actions = Asked(task), task.log.vocabulary.actions
    edges, questions = asked.edges, list(asked.questions(count, seed))
    items = train_item_vectors(task.past, ItemVectorConfig())
    keys = id_keys(items.ids.tolist())
    topics = Topics(*_sorted(keys, clustered(items.vectors, TOPICS)))
    users, lines, plain = [one.user for one in questions], [], dict[int, Floats]()
    for row in rows_of(edges, topics, actions):
        graph = built(row, edges, topics, actions, task.cut_ms)
        graph.graph.prepare()
        rank = ranks(graph.graph, questions, config)
        hits = {k: (rank < k).astype(np.float64) for k in KS}
        plain = plain or hits
        cells = [_cell(hits[k], users) for k in KS]
        less = ["" if plain is hits else _cell(hits[k] - plain[k], users) for k in KS]
        lines.append([row.name, f"{graph.edges:,}", *cells, *less])
        click.echo(" | ".join(lines[-1]), err=True)
    head = [f"{len(questions):,} questions", "edges", *(f"recall@{k}" for k in KS), *(f"less plain: @{k}" for k in KS)]
    return table(head, lines)


def _sorted(keys: Keys, labels: Ints) -> tuple[Keys, Ints]:
    order = np.argsort(keys)
    return keys[order], labels[order]


def _cell(values: Floats, users: Sequence[int]) -> str:
    return mean_and_interval(float(values.mean()), bootstrap_interval(values, users, seed=0))


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of all logs.")
@logs_option(("music30", "taobao", "ml_small"))
@click.option("--questions", type=click.IntRange(1), default=500, show_default=True, help="Of a log.")
@click.option("--steps", type=click.IntRange(1), default=WalkConfig.steps, show_default=True, help="Of a question.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of which questions.")
def main(data: Path, logs: tuple[str, ...], questions: int, steps: int, seed: int) -> None:
    """Hold graphs against each other by what walks on them find, log by log."""
    for log in (LOGS[name] for name in logs):
        with refusals():
            text = measured(Task.open(log, data.resolve()), questions, seed, replace(WalkConfig(), steps=steps))
            click.echo(f"{log.title}\n\n{text}\n")


if __name__ == "__main__":
    main()
