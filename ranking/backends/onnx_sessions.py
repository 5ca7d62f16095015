"""The session encoder of a bundle as ``features.sessions.SessionEncoder``; its graphs: ``bundles/sessions.py``.

The open session starts with a row of zeros, the start token of HierTCN's code, so a user without an open session is
encoded too. Closed sessions that are not yet in the state are folded first, one by one. A fold always runs on a tile
of 32 rows: the same instructions, hence the same bits, for one user at a request and for many in a chunk of actions.
"""

from collections.abc import Sequence
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

TILE = 32


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

    def fold(self, states: Floats, pooled: Floats) -> Floats:
        """Step each of ``(n, H)`` states over one closed session, ``(n, I)``; no row depends on another, to the bit."""
        new_states = np.empty_like(states)
        for start in range(0, len(states), TILE):
            count = min(TILE, len(states) - start)
            tile = self._fold_tile(_tile(states[start : start + count]), _tile(pooled[start : start + count]))
            new_states[start : start + count] = tile[:count]
        return new_states

    def encode(self, state: Floats, closed: Floats, opened: Floats) -> Floats:
        """Return ``(S,)`` of state ``(H,)``, closed sessions ``(k, I)`` and the items ``(t, I)`` of the open one."""
        tile, pooled = _tile(state[None]), _tile(closed[:1])
        for session in closed:  # row 0 is the user's, the others are padding
            pooled[0] = session
            tile = self._fold_tile(tile, pooled)
        started = np.concatenate([np.zeros((1, opened.shape[1]), np.float32), opened])
        vector: Floats = self._encode.run(["session_vector"], {"state": tile[:1], "opened": started})[0]
        return vector

    def _fold_tile(self, states: Floats, pooled: Floats) -> Floats:
        new_states: Floats = self._fold.run(["new_states"], {"states": states, "pooled": pooled})[0]
        return new_states


def _tile(rows: Floats) -> Floats:
    """Pad with rows of zeros."""
    tile = np.zeros((TILE, rows.shape[1]), np.float32)
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
