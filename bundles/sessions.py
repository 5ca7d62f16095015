"""The part that makes session vectors: ``features.sessions.SessionEncoder`` in two graphs.

::

    session_fold.onnx      states (n, H), pooled (n, I)  ->  new_states (n, H)     one step over a closed session each
    session_encode.onnx    state (1, H), opened (1 + t, I)  ->  session_vector (S,)

Golden cases ``fold`` and ``encode``: arguments and result of ``SessionEncoder.fold`` and ``.encode``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from rankstream.bundles.parts import Part
from rankstream.features.schema import Floats

SESSIONS = "sessions"
SESSION_FOLD_GRAPH = "session_fold.onnx"
SESSION_ENCODE_GRAPH = "session_encode.onnx"
FOLD_CASE, ENCODE_CASE = "fold", "encode"


class SessionSizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tag and widths of a session encoder, as ``features.sessions.SessionEncoder`` defines them."""

    tag: int
    state_size: int
    dim: int


@dataclass(frozen=True)
class FoldCase:
    """Arguments and result of ``SessionEncoder.fold``."""

    states: Floats  # (n, H)
    pooled: Floats  # (n, I)
    new_states: Floats  # (n, H)


@dataclass(frozen=True)
class EncodeCase:
    """Arguments and result of ``SessionEncoder.encode``."""

    state: Floats  # (H,)
    closed: Floats  # (k, I), k may be 0
    opened: Floats  # (t, I), t may be 0
    session_vector: Floats  # (S,)


def sessions_part(encoder: SessionSizes, model: str = "", sizes: Mapping[str, int] | None = None) -> Part:
    """Return what the manifest lists of a session encoder; ``sizes`` are others that it shares."""
    return Part(
        kind=SESSIONS,
        model=model,
        files=(SESSION_FOLD_GRAPH, SESSION_ENCODE_GRAPH),
        sizes={**(sizes or {}), "session_dim": encoder.dim},
        facts=msgspec.structs.asdict(encoder),
    )


def session_sizes(part: Part) -> SessionSizes:
    """Return the encoder's sizes. Raises ``msgspec.ValidationError`` for a part of another kind."""
    return msgspec.convert(part.facts, SessionSizes)
