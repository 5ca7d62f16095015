"""The session encoder of a bundle, HierTCN in two ONNX graphs, as ``features.sessions.SessionEncoder``.

::

    session_fold.onnx      states (n, H), pooled (n, I)  ->  new_states (n, H)     one step over a closed session each
    session_encode.onnx    state (1, H), opened (1 + t, I)  ->  session_vector (S,)

The open session starts with a row of zeros, the start token of HierTCN's code, so a user without an open session is
encoded too. Closed sessions that are not yet in the state are folded first, one by one. A fold always runs on a tile
of 32 rows: the same instructions, hence the same bits, for one user at a request and for many in a chunk of actions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rankstream.bundles.manifest import SessionSizes
from rankstream.features.schema import Floats
from rankstream.ranking.backends.onnx import CPU, open_graph

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
