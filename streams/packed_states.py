"""States of many users in one buffer, to be written as a whole: a mapping to a store, record batches to a changelog.

Knows no numba: who packs them says how records are made of them.
"""

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rankstream.streams.columns import Ints

Bytes = npt.NDArray[np.uint8]
ROWS_AT_ONCE = 256  # copied before they are cut: so many lie in the processor's cache


class PutRecords(Protocol):
    """Writes states as records of a batch; see ``compiled/state_records.py``."""

    def __call__(self, states: "PackedStates", first: int, at: int, limit: int, out: Bytes) -> tuple[int, int]:
        """Write the rows from ``first`` on at ``at``, as many as end before ``limit``, but one at least.

        Return the first row that is left, and where the records end.
        """
        ...


@dataclass(frozen=True, eq=False)
class PackedStates(Mapping[bytes, bytes]):
    """Records by user key; nothing is made of one before it is asked for."""

    keys_of: Sequence[bytes]  # of each row, each key once
    key_data: bytes  # the same, one after the other
    key_ends: Ints  # (n,)
    data: Bytes
    ends: Ints  # (n,) where each state ends
    put_records: PutRecords

    def __len__(self) -> int:
        return len(self.keys_of)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.keys_of)

    def __getitem__(self, key: bytes) -> bytes:
        row = self._rows[key]
        return bytes(self.data[self.begin(row) : int(self.ends[row])])

    def items(self) -> ItemsView[bytes, bytes]:
        """Return the pairs, in order, each made on the way."""
        return _Pairs(self)

    def begin(self, row: int) -> int:
        """Return where the state of a row begins."""
        return int(self.ends[row - 1]) if row else 0

    def states(self) -> Iterator[bytes]:
        """Yield the states in order."""
        return chain.from_iterable(map(self._some, range(0, len(self), ROWS_AT_ONCE)))

    def _some(self, first: int) -> list[bytes]:
        begin, ends = self.begin(first), self.ends[first : first + ROWS_AT_ONCE]
        data, stops = self.data[begin : int(ends[-1])].tobytes(), (ends - begin).tolist()
        return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {key: row for row, key in enumerate(self.keys_of)}


class _Pairs(ItemsView[bytes, bytes]):
    def __init__(self, states: PackedStates) -> None:
        super().__init__(states)
        self._of = states

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return zip(self._of.keys_of, self._of.states(), strict=True)
