"""Ranks of the targets of the same queries by many rankers: what replays wrote as outcomes, joined by query.

::

    replay of the product, with its baselines  ->  outcomes.parquet \
    replay of a rival                          ->  outcomes.parquet  ->  Ranked: query x ranker -> ranks
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from rankstream.features.ids import Id
from rankstream.metrics.arrays import Floats, Ints

COLUMNS = ("query", "user_id", "as_of", "targets", "candidates", "variant", "ranks")


@dataclass(frozen=True)
class Ranked:
    """Queries, and where each ranker put their targets."""

    queries: tuple[str, ...]
    users: tuple[Id, ...]
    at_ms: Ints  # (n,)
    targets: tuple[tuple[Id, ...], ...]
    candidates: Ints  # (n,)
    ranks: Mapping[str, Sequence[Floats]]  # ranker -> of each query (targets,), from 1; infinite for not ranked

    def __len__(self) -> int:
        return len(self.queries)

    def of(self, rows: Ints) -> "Ranked":
        """Return these queries alone."""
        chosen = rows.tolist()
        return Ranked(
            tuple(self.queries[row] for row in chosen),
            tuple(self.users[row] for row in chosen),
            self.at_ms[rows],
            tuple(self.targets[row] for row in chosen),
            self.candidates[rows],
            {name: [ranks[row] for row in chosen] for name, ranks in self.ranks.items()},
        )

    def with_choice(self) -> "Ranked":
        """Return the queries with something to choose: candidates that are targets, and others."""
        counts = np.array([len(targets) for targets in self.targets])
        return self.of(np.flatnonzero((counts > 0) & (counts < self.candidates)))


def read_ranked(path: Path) -> Ranked:
    """Read a file of outcomes; rankers whose order is expected only, not known, are left out."""
    table = pq.read_table(path, columns=list(COLUMNS))
    columns = {name: table.column(name).to_pylist() for name in COLUMNS if name != "as_of"}
    at_ms = table.column("as_of").cast("int64").to_numpy()
    names = list(dict.fromkeys(columns["variant"]))
    rows = {name: [row for row, variant in enumerate(columns["variant"]) if variant == name] for name in names}
    first = rows[names[0]]
    of_first = {name: [column[row] for row in first] for name, column in columns.items()}
    ranks = {name: [columns["ranks"][row] for row in rows[name]] for name in names}
    return Ranked(
        tuple(of_first["query"]),
        tuple(of_first["user_id"]),
        at_ms[first],
        tuple(tuple(targets) for targets in of_first["targets"]),
        np.array(of_first["candidates"], np.int64),
        {name: [_known(one) for one in found] for name, found in ranks.items() if None not in found},
    )


def joined(parts: Iterable[Ranked]) -> Ranked:
    """Return the rankers of all parts on their queries, which are the same. Raises ``ValueError`` if they are not."""
    first, *others = parts
    ranks = dict(first.ranks)
    for other in others:
        if set(other.queries) != set(first.queries):
            raise ValueError(f"{', '.join(other.ranks)} ranked other queries than {', '.join(first.ranks)}")
        row_of = {query: row for row, query in enumerate(other.queries)}
        order = [row_of[query] for query in first.queries]
        ranks |= {name: [found[row] for row in order] for name, found in other.ranks.items() if name not in ranks}
    return Ranked(first.queries, first.users, first.at_ms, first.targets, first.candidates, ranks)


def _known(ranks: Sequence[int | None]) -> Floats:
    return np.array([np.inf if rank is None else rank for rank in ranks], np.float64)
