"""Columns of a log whose values become objects of Python only where somebody looks at them one by one.

::

    Texts      b"u17ü3u17"   from and to (n, 2)     the ids of a log, where they are texts
    TextKeys   the same bytes, where they lie       what records are keyed by, and states kept under
    Numbers    (n,) whole numbers                   ids, where they are numbers
    Packed     high, low (n,) 64 bits each          16-byte actions

To their readers they are sequences like any list, and equal to it. Whoever goes through a log whole, as the compiled
engine does, takes the arrays.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from rankstream.features.actions import ACTION_BYTES, Words, bytes_of_words, words_of_bytes
from rankstream.features.ids import Id

T_co = TypeVar("T_co", covariant=True)
Ints = npt.NDArray[np.int64]


class Column(Sequence[T_co], Generic[T_co]):
    """Values of n rows."""

    @abstractmethod
    def part(self, rows: slice | npt.NDArray[Any]) -> Self:
        """Return these rows, in this order."""

    @abstractmethod
    def joined(self, others: Sequence[Any]) -> Self:
        """Return this column with others of its kind behind it."""

    @abstractmethod
    def made(self) -> list[T_co]:
        """Make an object of each row."""

    @cached_property
    def _values(self) -> list[T_co]:
        return self.made()

    @overload
    def __getitem__(self, at: int) -> T_co: ...
    @overload
    def __getitem__(self, at: slice | npt.NDArray[Any]) -> Self: ...
    def __getitem__(self, at: int | slice | npt.NDArray[Any]) -> T_co | Self:
        return self.part(at) if isinstance(at, slice | np.ndarray) else self._values[at]

    def __iter__(self) -> Iterator[T_co]:
        return iter(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._values == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list


class _Spans(Column[T_co]):
    """Texts in one buffer, whatever they are made into."""

    def __init__(self, data: bytes, spans: Ints) -> None:
        self.data = data
        self.spans = spans  # (n, 2 or more) from and to, in the first two columns

    def __len__(self) -> int:
        return len(self.spans)

    def part(self, rows: slice | npt.NDArray[Any]) -> Self:
        """Return these rows, in this order."""
        return type(self)(self.data, self.spans[rows])

    def joined(self, others: Sequence[Any]) -> Self:
        """Return this column with others behind it."""
        columns, begin = [self, *others], 0
        spans: list[Ints] = []
        for one in columns:
            spans.append(one.spans[:, :2] + begin)
            begin += len(one.data)
        return type(self)(b"".join(one.data for one in columns), np.concatenate(spans))

    def _cut(self) -> list[bytes]:
        data = self.data
        return [data[begin:end] for begin, end in self.spans[:, :2].tolist()]


class TextKeys(_Spans[bytes]):
    """Keys of users."""

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> "TextKeys":
        """Return keys as a column."""
        if isinstance(keys, TextKeys):
            return keys
        return cls(b"".join(keys), spans_of_sizes(np.fromiter(map(len, keys), np.int64, len(keys))))

    def made(self) -> list[bytes]:
        """Make an object of each row."""
        return self._cut()


class Texts(_Spans[Id]):
    """Ids that are texts, in UTF-8."""

    @property
    def keys(self) -> TextKeys:
        """What records of such users are keyed by."""
        return TextKeys(self.data, self.spans)

    def made(self) -> list[Id]:
        """Make an object of each row, and one of all rows that are the same."""
        if not self.data.isascii():
            each: dict[bytes, str] = {}
            return [each.get(one) or each.setdefault(one, one.decode()) for one in self._cut()]
        data = self.data.decode("ascii")
        same: dict[str, str] = {}
        return [same.setdefault(text, text) for text in [data[begin:end] for begin, end in self.spans.tolist()]]


class Numbers(Column[Id]):
    """Ids that are whole numbers."""

    def __init__(self, numbers: npt.NDArray[Any]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, rows: slice | npt.NDArray[Any]) -> Self:
        """Return these rows, in this order."""
        return type(self)(self.numbers[rows])

    def joined(self, others: Sequence[Any]) -> Self:
        """Return this column with others behind it."""
        return type(self)(np.concatenate([self.numbers, *(one.numbers for one in others)]))

    def made(self) -> list[Id]:
        """Make an object of each row."""
        numbers: list[Id] = self.numbers.tolist()
        return numbers


class Packed(Column[bytes]):
    """Packed actions, both halves of each as a number."""

    def __init__(self, high: Words, low: Words) -> None:
        self.high, self.low = high, low

    @classmethod
    def of(cls, actions: Sequence[bytes]) -> "Packed":
        """Return packed actions as a column."""
        return actions if isinstance(actions, Packed) else cls(*words_of_bytes(b"".join(actions)))

    def __len__(self) -> int:
        return len(self.high)

    def part(self, rows: slice | npt.NDArray[Any]) -> Self:
        """Return these rows, in this order."""
        return type(self)(self.high[rows], self.low[rows])

    def joined(self, others: Sequence[Any]) -> Self:
        """Return this column with others behind it."""
        columns = [self, *others]
        return type(self)(np.concatenate([one.high for one in columns]), np.concatenate([one.low for one in columns]))

    def made(self) -> list[bytes]:
        """Make an object of each row."""
        cut: list[bytes] = np.frombuffer(bytes_of_words(self.high, self.low), f"V{ACTION_BYTES}").tolist()
        return cut


def spans_of_sizes(sizes: Ints, begin: int = 0) -> Ints:
    """Return from and to ``(n, 2)`` of parts of these sizes that lie one after the other, from ``begin`` on."""
    spans = np.empty((len(sizes), 2), np.int64)
    np.cumsum(sizes, out=spans[:, 1])
    spans[:, 1] += begin
    spans[:, 0] = spans[:, 1] - sizes
    return spans


def joined(columns: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Return columns one after the other, as a list where they are of several kinds."""
    if any(isinstance(one, TextKeys) for one in columns):
        columns = [TextKeys.of(one) for one in columns]
    first, *others = columns
    if isinstance(first, Column) and _alike(columns):
        whole: Column[Any] = first.joined(others)
        return whole
    return [one for column in columns for one in column]


def _alike(columns: Sequence[Any]) -> bool:
    """Return whether columns are of one kind; numpy would make floats of signed numbers and unsigned ones."""
    return len({(type(one), one.numbers.dtype if isinstance(one, Numbers) else None) for one in columns}) == 1
