"""How a file of memberships is to be read: its columns, which actions say what, and what an edge weighs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
import numpy.typing as npt

from rankstream.events.arrivals import LogError
from rankstream.events.readers.dates import AUTO
from rankstream.graph.alias import Weights

BOARD, ITEM, TIME, ACTION, USER = "board", "item_id", "timestamp_ms", "action", "user_id"
FIELDS = (BOARD, ITEM, TIME, ACTION, USER)
MAX_HALVINGS = 50.0  # by age: what is older weighs no less, as nothing could be drawn of boards that are all older

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Edge:
    """Which action says by which column in what boards its item is."""

    action: str
    column: str
    weight: float = 1.0  # beside those of other actions


@dataclass(frozen=True)
class MembershipOptions:
    """How a file is to be read, where it does not say it itself."""

    columns: Mapping[str, str] = field(default_factory=dict)  # field of ``FIELDS`` -> the column that holds it
    time_unit: str = AUTO
    dates: str = AUTO  # whether the day or the month comes first where the year does not
    delimiter: str | None = None  # of text; told by its first lines
    heading: tuple[str, ...] | None = None  # names of the columns of text without a heading
    edges: tuple[Edge, ...] = ()  # none: each row, by ``BOARD``
    half_life_ms: int | None = None  # after which an edge weighs half; None: age does not matter

    def check(self) -> None:
        """Raise ``LogError`` for what is no field."""
        for name in self.columns:
            if name not in FIELDS:
                raise LogError(f"{name} is no field of a membership; it has {', '.join(FIELDS)}")
        if self.edges and BOARD in self.columns:
            raise LogError("edges name the columns of boards themselves; leave out --map board, or --edges")
        for edge in self.edges:
            if not (isfinite(edge.weight) and edge.weight > 0):
                raise LogError(f"edges of {edge.action} weigh {edge.weight}; wanted more than 0, or leave them out")

    @property
    def weighted(self) -> bool:
        """Return whether edges differ in weight."""
        return self.half_life_ms is not None or any(edge.weight != 1.0 for edge in self.edges)

    def weights(self, weights: Weights, times_ms: Times, as_of_ms: int) -> Weights | None:
        """Return what edges of these weights and times weigh as of a time; None where all are alike."""
        if not self.weighted:
            return None
        if self.half_life_ms is None:
            return weights
        return weights * np.exp2(-np.minimum((as_of_ms - times_ms) / self.half_life_ms, MAX_HALVINGS))

    def column(self, name: str) -> str:
        """Return the column of a field."""
        return self.columns.get(name, name)
