"""What a benchmark measured, as values beside the table that it prints: medians of rounds with their spread.

::

    python -m benchmarks.engine --json engine.json     {"figures": [{"name": "plain", "unit": "events/s of CPU", ...}]}
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from rankstream.features.files import whole_file

TIMES = "times"  # the unit of a ratio
OF_CPU = "events/s of CPU"
OF_WALL = "events/s"
MS = "ms"


@dataclass(frozen=True)
class Figure:
    """One measurement of several rounds."""

    name: str  # what of the benchmark: a contender, a step; figures of one unit stand in one plot
    unit: str
    median: float
    low: float  # the least of the rounds
    high: float
    rounds: int  # 1 has no spread

    @classmethod
    def of(cls, name: str, unit: str, values: Iterable[float]) -> "Figure":
        """Return the figure of what each round measured."""
        found = sorted(float(value) for value in values)
        return cls(name, unit, median(found), found[0], found[-1], len(found))


class Figures(msgspec.Struct, frozen=True):
    """What a file of figures holds."""

    figures: list[Figure]


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")


def write_figures(path: Path | None, figures: Sequence[Figure]) -> None:
    """Write what was measured, whole or not at all; nothing without a path."""
    if path is not None:
        with whole_file(path) as beside:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(Figures(list(figures)))) + b"\n")


def read_figures(path: Path) -> list[Figure]:
    """Return what a benchmark wrote. Raises ``OSError`` or ``msgspec.DecodeError``."""
    return msgspec.json.decode(path.read_bytes(), type=Figures).figures
