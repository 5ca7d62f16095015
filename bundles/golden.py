"""Golden cases of a bundle: inputs and the outputs that the trained model returned for them.

The exporter writes them with the model that was trained; a worker runs the exported graphs on the inputs before it
serves a single request. One ``.npz`` holds all, arrays named ``kind/case/array``::

    ranker/0/action_types ... ranker/0/probabilities
    fold/0/states  fold/0/pooled  fold/0/new_states
    encode/0/state  encode/0/closed  encode/0/opened  encode/0/session_vector

Which arrays a kind of case has, and which of them are outputs, is known to the file of the part alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rankstream.features.files import read_arrays

Arrays = Mapping[str, npt.NDArray[Any]]
Golden = Mapping[str, Sequence[Arrays]]  # kind of case -> its cases

Case = TypeVar("Case")


def write_golden(path: Path, golden: Golden) -> None:
    """Write the cases."""
    arrays: dict[str, Any] = {
        f"{kind}/{number}/{name}": array
        for kind, cases in golden.items()
        for number, case in enumerate(cases)
        for name, array in case.items()
    }
    np.savez(path, **arrays)


def read_golden(path: Path) -> dict[str, list[Arrays]]:
    """Read the cases. Raises ``OSError``, or ``ValueError`` for anything but what ``write_golden`` wrote."""
    cases: dict[str, dict[str, dict[str, npt.NDArray[Any]]]] = {}
    for name, content in read_arrays(path).items():
        kind, number, array = name.split("/")
        cases.setdefault(kind, {}).setdefault(number, {})[array] = content
    return {kind: list(numbered.values()) for kind, numbered in cases.items()}


def largest_difference(outputs: Arrays, case: Arrays) -> float:
    """Return the largest difference to a case's outputs, relative to what is larger than 1; NaN if there is one.

    Raises ``ValueError`` for an output of another shape.
    """
    differences = []
    for name, output in outputs.items():
        wanted = case[name]
        if output.shape != wanted.shape:
            raise ValueError(f"{name} of {output.shape}, wanted {wanted.shape}")
        differences.append(np.max(np.abs(output - wanted) / np.maximum(1, np.abs(wanted)), initial=0.0))
    return float(np.max(differences))


def arrays_of(case: Any) -> dict[str, npt.NDArray[Any]]:
    """Return the fields of a dataclass of arrays by name."""
    return {field.name: getattr(case, field.name) for field in fields(case)}


def case_of(kind: type[Case], arrays: Arrays) -> Case:
    """Fill a dataclass of arrays; other arrays are left out. Raises ``KeyError`` for one that is missing."""
    return kind(**{field.name: arrays[field.name] for field in fields(kind)})  # type: ignore[arg-type]
