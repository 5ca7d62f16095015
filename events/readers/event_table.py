"""A log that was read whole, as training reads it: for the few whose parts must be put together first."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rankstream.events.arrivals import Arrivals, pack_columns
from rankstream.events.log import Codes, EventLog
from rankstream.events.readers.json_lines import BATCH_ROWS, Reading, codes_of_values
from rankstream.events.readers.rows import Shape


@dataclass(frozen=True)
class TableReader:
    """The actions of an event table, in order of time; memory holds all of them."""

    table: EventLog

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals, by the codes of the reading's vocabulary; actions that it lacks are skipped."""
        codes = _translated(self.table.vocabulary.actions, reading.vocabulary.action_codes)[self.table.actions]
        known = np.flatnonzero(codes)
        if len(known) < len(codes):
            reading.skipped["unknown-action: the bundle's vocabulary lacks the action"] += len(codes) - len(known)
        surfaces = _translated(self.table.vocabulary.surfaces, reading.vocabulary.surface_codes)
        for start in range(0, len(known), BATCH_ROWS):
            rows = known[start : start + BATCH_ROWS]
            part = self.table.rows(rows)
            none = np.zeros(len(part), np.int64)
            yield pack_columns(
                part.user_ids.tolist(),
                part.item_ids.tolist(),
                codes[rows],
                part.times_ms,
                none if part.surfaces is None else surfaces[part.surfaces],
                none if part.values is None else codes_of_values(part.values),
            )

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces of the table."""
        return set(self.table.vocabulary.actions), set(self.table.vocabulary.surfaces)


def _translated(names: tuple[str, ...], codes: dict[str, int]) -> Codes:
    """Return the code of each name, behind a 0 for none."""
    return np.array([0, *(codes.get(name, 0) for name in names)], np.int64)
