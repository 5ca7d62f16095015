"""What reading a log skipped or ignored, by kind of reason with one example each.

::

    unknown-action                            1,204    day-2.csv, row 17: action 'dance' is not in the vocabulary
    timestamp: more than a day after now          1    day-2.csv, row 281: timestamp_ms is 4102444800000, ...

A kind is a worker's reason for dead letters, and what of it; no kind names a value, so that a log of nothing but
garbage fills no memory.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rankstream.events.action_event import Rejected

MAX_KINDS = 100  # a bound for what none should reach
OTHER = "other: more kinds of reasons than are counted apart"
MANY = 20  # columns named in a sentence
SHOWN_VALUE = 60  # characters
SHOWN_REASONS = 3  # in a sentence

_field = re.compile(r"`\$\.(\w+)|missing required field `(\w+)`")


class Where(NamedTuple):
    """Where a row lies: which row or line of a file, or which offset of a partition."""

    source: str
    unit: str = "row"
    number: int | None = None  # from 1 for rows and lines; None where it is not known

    def __str__(self) -> str:
        return self.source if self.number is None else f"{self.source}, {self.unit} {self.number}"


@dataclass
class Kind:
    """One kind of reason: how many, and the first of them."""

    count: int
    example: str  # what came there
    where: str  # "" where it is not known


@dataclass
class Skipped:
    """Rows that were skipped, and what of the others was ignored, by kind: nothing is left out without a count."""

    rows: dict[str, Kind] = field(default_factory=dict)
    ignored: dict[str, Kind] = field(default_factory=dict)  # values that count as missing, rows that only repeat others

    def add(self, kind: str, example: str, where: Where | None = None, count: int = 1) -> None:
        """Count rows that were skipped."""
        _count(self.rows, kind, example, where, count)

    def ignore(self, kind: str, example: str, where: Where | None = None, count: int = 1) -> None:
        """Count what is left out of a log that can be read: values that count as none, repetitions."""
        _count(self.ignored, kind, example, where, count)

    def reject(self, why: Rejected, where: Where | None = None) -> None:
        """Count a row that a worker would reject."""
        self.add(kind_of(why), str(why), where)

    def clear(self) -> None:
        """Forget all, for another pass."""
        self.rows.clear()
        self.ignored.clear()

    def total(self) -> int:
        """Return how many rows were skipped."""
        return sum(kind.count for kind in self.rows.values())

    def __bool__(self) -> bool:
        return bool(self.rows)

    def most_common(self) -> list[tuple[str, int]]:
        """Return the reasons, each with its example, and how many rows there are of each; the most common first."""
        return list(_sentences(self.rows))

    def most_common_ignored(self) -> list[tuple[str, int]]:
        """Return the same of what was ignored."""
        return list(_sentences(self.ignored))

    def by_kind(self) -> dict[str, int]:
        """Return how many rows were skipped by kind."""
        return {name: kind.count for name, kind in self.rows.items()}

    def exceeds(self, max_share: float, kept: int) -> bool:
        """Return whether more than this share of the rows was skipped; ``kept`` were not."""
        return self.total() > max_share * (kept + self.total())

    def reasons(self) -> str:
        """Return the most common reasons in words."""
        most = self.most_common()
        more = f", and {len(most) - SHOWN_REASONS} more reasons" if len(most) > SHOWN_REASONS else ""
        return ", ".join(f"of {count:,} the reason is {reason}" for reason, count in most[:SHOWN_REASONS]) + more

    def refusal(self, log: str, kept: int) -> str:
        """Return the sentence about a log of which too many rows were skipped; ``kept`` were not."""
        skipped = self.total()
        return (
            f"{skipped:,} of the {kept + skipped:,} rows of {log} can't be read; {self.reasons()}; correct them, or go "
            "on without them with --allow-skips"
        )


def kind_of(why: Rejected) -> str:
    """Return a rejection's kind: its reason, and the field that it is about."""
    if why.kind:
        return f"{why.reason}: {why.kind}"
    about = _field.search(str(why))
    if about is None:
        return why.reason
    return f"{why.reason}: {f'no {about[2]}' if about[2] else f'{about[1]} is wrong'}"


def shown(raw: object) -> str:
    """Return a value as it came, of a bounded length."""
    text = repr(raw)
    return text if len(text) <= SHOWN_VALUE else f"{text[:SHOWN_VALUE]}..."


def listed(names: list[str]) -> str:
    """Return names of columns in words, of a bounded length."""
    names = [name if len(name) <= SHOWN_VALUE else f"{name[:SHOWN_VALUE]}..." for name in names]  # a first row of prose
    some = ", ".join(names[:MANY]) or "none"
    return f"{some} and {len(names) - MANY} more" if len(names) > MANY else some


def _count(kinds: dict[str, Kind], name: str, example: str, where: Where | None, count: int) -> None:
    if name not in kinds and len(kinds) >= MAX_KINDS:
        name = OTHER
    known = kinds.get(name)
    if known is None:
        kinds[name] = Kind(count, example, "" if where is None else str(where))
    else:
        known.count += count


def _sentences(kinds: dict[str, Kind]) -> Iterator[tuple[str, int]]:
    for name, kind in sorted(kinds.items(), key=lambda known: -known[1].count):
        example = f"{kind.where}: {kind.example}" if kind.where else kind.example
        yield f"{name} ({example})", kind.count
