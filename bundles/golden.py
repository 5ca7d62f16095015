"""Golden cases of a bundle: inputs and the outputs that the trained model gave for them.

The exporter writes them with the model that was trained; a worker runs the exported graphs on the inputs before it
serves a single request. One ``.npz`` holds all, arrays named ``kind/case/array``::

    ranker/0/action_types ... ranker/0/probabilities
    fold/0/states  fold/0/pooled  fold/0/new_states
    encode/0/state  encode/0/closed  encode/0/opened  encode/0/session_vector
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rankstream.features.schema import FeatureSizes, Floats, ModelInputs, random_inputs

Case = TypeVar("Case", ModelInputs, "FoldCase", "EncodeCase")

CANDIDATES = (1, 3, 65)  # one alone, a few, one more than a chunk of the backend


@dataclass(frozen=True)
class RankerCase:
    """A ranker's inputs and its probabilities ``(N, heads)``."""

    inputs: ModelInputs
    probabilities: Floats


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


@dataclass(frozen=True)
class Golden:
    """All golden cases of a bundle."""

    ranker: Sequence[RankerCase]
    fold: Sequence[FoldCase] = ()
    encode: Sequence[EncodeCase] = ()


def golden_inputs(sizes: FeatureSizes, num_types: int) -> list[ModelInputs]:
    """Draw the ranker inputs that every bundle is proved on: from no action to as many as the encoder sees."""
    actions = sorted({0, 1, min(7, sizes.num_actions), sizes.num_actions})
    shapes = [(count, candidates) for count in actions for candidates in CANDIDATES]
    return [random_inputs(sizes, count, many, num_types, seed) for seed, (count, many) in enumerate(shapes)]


def write_golden(path: Path, golden: Golden) -> None:
    """Write the cases."""
    arrays: dict[str, Any] = {}
    for number, ranked in enumerate(golden.ranker):
        arrays |= _named(f"ranker/{number}", ranked.inputs)
        arrays[f"ranker/{number}/probabilities"] = ranked.probabilities
    for number, folded in enumerate(golden.fold):
        arrays |= _named(f"fold/{number}", folded)
    for number, encoded in enumerate(golden.encode):
        arrays |= _named(f"encode/{number}", encoded)
    np.savez(path, **arrays)


def read_golden(path: Path) -> Golden:
    """Read the cases. Raises ``ValueError`` or ``KeyError`` for anything but what ``write_golden`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        cases: dict[str, dict[str, dict[str, npt.NDArray[Any]]]] = {"ranker": {}, "fold": {}, "encode": {}}
        for name in file.files:
            kind, number, array = name.split("/")
            cases[kind].setdefault(number, {})[array] = file[name]
    ranked = cases["ranker"].values()
    return Golden(
        ranker=[RankerCase(_filled(ModelInputs, arrays), arrays["probabilities"]) for arrays in ranked],
        fold=[_filled(FoldCase, arrays) for arrays in cases["fold"].values()],
        encode=[_filled(EncodeCase, arrays) for arrays in cases["encode"].values()],
    )


def _named(prefix: str, case: ModelInputs | FoldCase | EncodeCase) -> dict[str, npt.NDArray[Any]]:
    return {f"{prefix}/{field.name}": getattr(case, field.name) for field in fields(case)}


def _filled(kind: type[Case], arrays: dict[str, npt.NDArray[Any]]) -> Case:
    return kind(**{field.name: arrays[field.name] for field in fields(kind)})
