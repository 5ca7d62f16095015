"""The session encoder of a bundle as ``features.sessions.SessionEncoder``; its graphs: ``bundles/sessions.py``.

The open session starts with a row of zeros, the start token of HierTCN's code, so a user without an open session is
encoded too. Closed sessions that are not yet in the state are folded first, one by one. A fold has the same bits for
one user at a request and for many in a chunk of actions: it runs on a tile of 32 rows, and within a request on one of
``CHAIN`` rows, if those give the same bits on this machine.

What was computed is remembered by what it was made of, so that nothing can be out of date::

    state, p1 p2 ... p98 p99    the user's last request       remembered: the state after p99
    state, p1 p2 ... p98 p99 p100   a session has closed      one fold, not 100
"""

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from rankstream.bundles.golden import Arrays, case_of
from rankstream.bundles.graphs import CPU, open_graph
from rankstream.bundles.manifest import Manifest
from rankstream.bundles.parts import Part
from rankstream.bundles.sessions import (
    ENCODE_CASE,
    FOLD_CASE,
    SESSION_ENCODE_GRAPH,
    SESSION_FOLD_GRAPH,
    EncodeCase,
    FoldCase,
    SessionSizes,
    session_sizes,
)
from rankstream.features.schema import Floats
from rankstream.ranking.backends.base import OpenedPart
from rankstream.ranking.backends.remembered import Remembered

TILE = 32
CHAIN = 4  # rows of a fold within a request: half the time of a tile; of one row it would be a product of another order
PROBES = 4  # tiles by which it is seen that both give the same bits
REMEMBERED = 8_192  # states, and as many session vectors: 0.5 KB each
ENDED_SINCE = 4  # sessions that may have closed since a request whose state is still of use


class OnnxSessionEncoder:
    """Folds and encodes sessions; safe to call from many threads."""

    def __init__(
        self, fold_graph: Path, encode_graph: Path, model: SessionSizes, providers: Sequence[str] = CPU
    ) -> None:
        self.tag = model.tag
        self.state_size = model.state_size
        self.dim = model.dim
        self._fold = open_graph(fold_graph, providers)
        self._encode = open_graph(encode_graph, providers)
        self._states, self._vectors = Remembered(REMEMBERED), Remembered(REMEMBERED)

    def fold(self, states: Floats, pooled: Floats) -> Floats:
        """Step each of ``(n, H)`` states over one closed session, ``(n, I)``; no row depends on another, to the bit."""
        new_states = np.empty_like(states)
        for start in range(0, len(states), TILE):
            count = min(TILE, len(states) - start)
            tile = self._fold_tile(_padded(states[start : start + count]), _padded(pooled[start : start + count]))
            new_states[start : start + count] = tile[:count]
        return new_states

    def encode(self, state: Floats, closed: Floats, opened: Floats) -> Floats:
        """Return ``(S,)`` of state ``(H,)``, closed sessions ``(k, I)`` and the items ``(t, I)`` of the open one."""
        folded = self._after(state, closed)
        key = _digest(folded, opened)
        vector = self._vectors.get(key)
        if vector is None:
            vector = self._vectors.put(key, self._encoded(folded, opened))
        return vector.copy()

    def _encoded(self, state: Floats, opened: Floats) -> Floats:
        started = np.concatenate([np.zeros((1, opened.shape[1]), np.float32), opened])
        vector: Floats = self._encode.run(["session_vector"], {"state": state[None], "opened": started})[0]
        return vector

    def _after(self, state: Floats, closed: Floats) -> Floats:
        """Return the state ``(H,)`` after closed sessions, from the newest one on the way that is remembered."""
        if not len(closed):
            return state
        keys = _digests(state, closed)
        for back, key in enumerate(reversed(keys)):
            known = self._states.get(key)
            if known is not None:
                return known if not back else self._states.put(keys[-1], self._folded(known, closed[-back:]))
        return self._states.put(keys[-1], self._folded(state, closed))

    def _folded(self, state: Floats, closed: Floats) -> Floats:
        """Fold sessions one by one: row 0 is the user's, the others are padding."""
        tile, pooled = _padded(state[None], self._rows), _padded(closed[:1], self._rows)
        for session in closed:
            pooled[0] = session
            tile = self._fold_tile(tile, pooled)
        folded: Floats = tile[0].copy()
        return folded

    @cached_property
    def _rows(self) -> int:
        """Return how many rows a fold within a request has: ``CHAIN`` where that gives the bits of a tile."""
        width = self._fold.get_inputs()[1].shape[1]
        if not isinstance(width, int):
            return TILE
        rng = np.random.default_rng(0)
        for _ in range(PROBES):
            states = np.tanh(rng.standard_normal((TILE, self.state_size))).astype(np.float32)
            pooled = rng.standard_normal((TILE, width)).astype(np.float32)
            cuts = range(0, TILE, CHAIN)
            parts = [self._fold_tile(states[at : at + CHAIN], pooled[at : at + CHAIN]) for at in cuts]
            if np.concatenate(parts).tobytes() != self._fold_tile(states, pooled).tobytes():
                return TILE
        return CHAIN

    def _fold_tile(self, states: Floats, pooled: Floats) -> Floats:
        new_states: Floats = self._fold.run(["new_states"], {"states": states, "pooled": pooled})[0]
        return new_states


def _digest(*arrays: Floats) -> bytes:
    digest = blake2b(digest_size=16)
    for array in arrays:
        digest.update(array.tobytes())
    return digest.digest()


def _digests(state: Floats, closed: Floats) -> list[bytes]:
    """Return what names the states after the newest closed sessions, the last of all of them."""
    first = max(1, len(closed) - ENDED_SINCE)
    digest = blake2b(state.tobytes() + closed[:first].tobytes(), digest_size=16)
    keys = [digest.digest()]
    for session in closed[first:]:
        digest.update(session.tobytes())
        keys.append(digest.digest())
    return keys


def _padded(rows: Floats, count: int = TILE) -> Floats:
    """Pad with rows of zeros."""
    tile = np.zeros((count, rows.shape[1]), np.float32)
    tile[: len(rows)] = rows
    return tile


def open_sessions(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
    """Open the part "sessions" of a bundle: an ``OnnxSessionEncoder``."""
    encoder = OnnxSessionEncoder(
        folder / SESSION_FOLD_GRAPH, folder / SESSION_ENCODE_GRAPH, session_sizes(part), providers
    )

    def fold(arrays: Arrays) -> Arrays:
        case = case_of(FoldCase, arrays)
        return {"new_states": encoder.fold(case.states, case.pooled)}

    def encode(arrays: Arrays) -> Arrays:
        case = case_of(EncodeCase, arrays)
        vector = encoder.encode(case.state, case.closed, case.opened)
        if vector.shape != (encoder.dim,):
            raise ValueError(f"a session vector {vector.shape}, wanted ({encoder.dim},)")
        return {"session_vector": vector}

    return OpenedPart(encoder, {FOLD_CASE: fold, ENCODE_CASE: encode})
