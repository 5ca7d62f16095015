"""What of all items one request may be answered with: asked of by every source of candidates.

::

    excluded    keys that are never proposed: what the user has seen, what the request names
    stock       a version of the catalogue beside the item table: what is not in the catalogue is gone
    passed      which items of the catalogue pass the request's filters
    seed        what a source samples follows from it and the source's name

**The seed is the request's**: of the ids of user and request, nothing else. So whoever has the request, which stands in
its topic, samples as the worker did: a request that is delivered twice, ``verify``, ``explain``. A replay names each of
its queries by what was wanted (``evaluation/replay/funnel.py``), so it samples the same each time that it is run. Who
asks without a request (``scope_of``) always has the same seed.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

from rankstream.content.catalogue import Catalogue
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, Keys, id_bytes
from rankstream.features.matches.columns import UserMatches
from rankstream.features.schema import Bools

NOT_THERE = -1


@dataclass(frozen=True)
class Stock:
    """A version of the catalogue beside one of the item table; made once for both, and shared by requests."""

    catalogue: Catalogue
    items: EmbeddingTable

    @cached_property
    def rows(self) -> Rows:
        """Return the row in the catalogue of each item of the table ``(n,)``; -1 for what is not in it."""
        rows, found = self.catalogue.look_up(self.items.keys)
        return np.where(found, rows, NOT_THERE)

    @cached_property
    def gone(self) -> Rows:
        """Return the rows of the table that are not in the catalogue."""
        return np.flatnonzero(self.rows == NOT_THERE)


@dataclass(frozen=True)
class Scope:
    """What one request may be answered with."""

    excluded: Keys
    stock: Stock | None = None  # None: there is no catalogue, and nothing is gone
    passed: Bools | None = None  # (m,) by row of the catalogue; None: all
    seed: int = 0  # of the request (``seed_of``), for sources that sample

    def rng(self, source: str) -> np.random.Generator:
        """Return the random numbers of a source that samples: those of another one, or of another request, differ."""
        return np.random.default_rng([self.seed, int.from_bytes(source.encode(), "little")])

    def barred(self, items: EmbeddingTable) -> Rows:
        """Return the rows of the item table that must not be proposed; some may come twice."""
        rows, found = items.rows(self.excluded)
        if self.stock is None:
            return rows[found]
        if self.passed is None:
            return np.concatenate([rows[found], self.stock.gone])
        return np.concatenate([rows[found], np.flatnonzero(~self._lets(self.stock.rows))])

    def lets_rows(self, rows: Rows) -> Bools:
        """Return which rows of the item table are in the catalogue and pass; what is excluded is not looked at."""
        if self.stock is None:
            return np.ones(len(rows), np.bool_)
        return self._lets(self.stock.rows[rows])

    def _lets(self, at: Rows) -> Bools:
        """Return which rows of the catalogue, -1 for what is not there, pass."""
        let: Bools = at != NOT_THERE if self.passed is None else np.append(self.passed, False)[at]  # -1: the last one
        return let


def scope_of(user: UserMatches) -> Scope:
    """Return the scope without a request: all but what the user has seen, sampled the same each time."""
    return Scope(user.excluded)


def seed_of(user_id: Id, request_id: Id) -> int:
    """Return the seed of a request's samples, a function of both ids on any machine."""
    named = [id_bytes(user_id), id_bytes(request_id)]
    text = b"".join(len(name).to_bytes(4, "little") + name for name in named)
    return int.from_bytes(blake2b(text, digest_size=16, person=b"candidates").digest(), "little")
