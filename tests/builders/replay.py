"""Recorded logs in memory, for tests of replay."""

from collections.abc import Iterator, Sequence

import numpy as np

from rankstream.events.arrivals import Arrivals, pack_columns
from rankstream.events.skipped import Skipped
from rankstream.features.actions import ERASURE, Vocabulary
from rankstream.features.ids import Id
from tests.builders.bundle import VOCABULARY

Row = tuple[Id, Id, str, int]  # user, item, action, time in ms


class ALog:
    """Rows as a recorded log, in batches of so many."""

    name = "a log"

    def __init__(
        self,
        rows: Sequence[Row],
        batch: int = 1000,
        vocabulary: Vocabulary = VOCABULARY,
        surfaces: Sequence[int] | None = None,
    ) -> None:
        self.rows, self.batch, self.vocabulary = rows, batch, vocabulary
        self.surfaces = np.array(surfaces or [0] * len(rows), np.int64)
        self.skipped = Skipped()

    def checksum(self) -> str:
        return "0" * 64

    def batches(self, vocabulary: Vocabulary, erasures: bool = False) -> Iterator[Arrivals]:
        for start in range(0, len(self.rows), self.batch):
            part = self.rows[start : start + self.batch]
            packed = pack_columns(
                [user for user, _, _, _ in part],
                [item for _, item, _, _ in part],
                np.array([vocabulary.action_codes.get(action, ERASURE) for _, _, action, _ in part], np.int64),
                np.array([at_ms for _, _, _, at_ms in part], np.int64),
                self.surfaces[start : start + self.batch],
                np.full(len(part), np.nan),
            )
            yield packed.numbered(start) if erasures else packed.numbered(start).without_erasures()


def arrivals_of_rows(rows: Sequence[Row]) -> Arrivals:
    """Return the rows as one batch."""
    return next(ALog(rows, len(rows)).batches(VOCABULARY))
