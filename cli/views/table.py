"""The one way in which commands print a table, or names and what they stand for: nothing is ever cut.

A table that is wider than the terminal first loses the columns that hold one value in all rows (said once, below),
then folds words, then stands row by row, a line a column. Numbers are never broken. Where the output is no terminal,
a table is as wide as it wants to be. Cells are text, not markup: what a log says is shown as it says it.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

UNLIMITED = 100_000  # columns, where there is no terminal
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the line break
SIDES = 3  # characters that a column takes beside its cells: two spaces and a line
GAP = 2  # characters between a name and what it stands for

Cell = str | Text


def console() -> Console:
    """Return standard output: as wide as the terminal or ``COLUMNS``, unlimited where there is neither."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return Console(width=None if known else UNLIMITED, highlight=False)


@dataclass(frozen=True)
class Column:
    """A column: its title, and whether its cells are numbers, which stand right and are never broken."""

    title: str
    is_number: bool = False


def names(*titles: str) -> list[Column]:
    """Return columns of names and texts."""
    return [Column(title) for title in titles]


def numbers(*titles: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(title, is_number=True) for title in titles]


@dataclass(frozen=True)
class Table:
    """Rows under a head, a title above and notes below, at any width of a terminal."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: Cell = ""
    notes: Sequence[Cell] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what fits into ``options.max_width``."""
        table = replace(self, rows=[[_text(cell) for cell in row] for row in self.rows])
        said: list[Cell] = []
        if _frame(table.natural_widths) > options.max_width:
            table, said = table.without_constants()
        if self.title:
            yield _text(self.title, "italic")
        if _frame(table.least_widths) > options.max_width:
            yield from table.row_by_row(options.max_width)
        else:
            yield table.under_a_head(options.max_width)
        for note in (*said, *self.notes):
            yield _text(note, "dim")

    @property
    def natural_widths(self) -> list[int]:
        """Return the width that each column takes with every line of its cells whole."""
        return [max(_width(line) for text in column for line in text.split("\n")) for column in self._texts()]

    @property
    def least_widths(self) -> list[int]:
        """Return the width that each column takes with every word whole, of numbers every line."""
        return [
            max(map(_width, words))
            for column, texts in zip(self.columns, self._texts(), strict=True)
            for words in [_words(texts[:1]) + ("\n".join(texts[1:]).split("\n") if column.is_number else _words(texts))]
        ]

    def _texts(self) -> Iterator[list[str]]:
        for number, column in enumerate(self.columns):
            yield [column.title, *(str(row[number]) for row in self.rows)]

    def without_constants(self) -> tuple["Table", list[Cell]]:
        """Return the table without the columns that hold one value in all rows, and the line that says it."""
        values = [texts[1:] for texts in self._texts()]
        constant = [n > 0 and len(self.rows) > 1 and len(set(column)) == 1 for n, column in enumerate(values)]
        if not any(constant):
            return self, []
        said = "; ".join(
            f"{' '.join(column.title.split())} {' '.join(cells[0].split()) or '-'}"
            for column, cells, dropped in zip(self.columns, values, constant, strict=True)
            if dropped
        )
        kept = [n for n, dropped in enumerate(constant) if not dropped]
        rows = [[row[n] for n in kept] for row in self.rows]
        return replace(self, columns=[self.columns[n] for n in kept], rows=rows), [f"in all rows: {said}"]

    def under_a_head(self, width: int) -> RenderableType:
        """Return a table of at most this width; the least widths must fit."""
        widths = _shared_out(self.natural_widths, self.least_widths, width - _frame([0] * len(self.columns)))
        table = RichTable(show_lines=widths != self.natural_widths)
        for column, columns in zip(self.columns, widths, strict=True):
            justify = "right" if column.is_number else "left"
            table.add_column(Text(column.title), justify=justify, width=columns, overflow="fold")  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*row)
        return table

    def row_by_row(self, width: int) -> Iterator[RenderableType]:
        """Yield each row as lines of title and cell, a blank line between two rows."""
        titles = [" ".join(column.title.split()) for column in self.columns]
        beside = _fit_beside(titles, [cell for row in self.rows for cell in row], width)
        for row in self.rows:
            yield from _lines(zip(titles, row, strict=True), beside)
            yield Text()


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for, a line each."""

    facts: Mapping[str, Cell]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what fits into ``options.max_width``."""
        beside = _fit_beside(list(self.facts), list(self.facts.values()), options.max_width)
        yield from _lines(self.facts.items(), beside)


def _fit_beside(titles: Sequence[str], cells: Sequence[Cell], width: int) -> bool:
    """Return whether names and values fit beside each other with every word whole."""
    return max(map(_width, titles), default=0) + GAP + max(map(_width, _words(map(str, cells)))) <= width


def _lines(facts: Iterable[tuple[str, Cell]], beside: bool) -> Iterator[RenderableType]:
    """Yield names and values, beside each other or the value below its name."""
    if beside:
        grid = RichTable.grid(padding=(0, GAP, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in facts:
            grid.add_row(Text(name), _text(value))
        yield grid
        return
    for name, value in facts:
        yield _text(name, "dim")
        yield Padding(_text(value), (0, 0, 0, GAP))


def _text(cell: Cell, style: str = "") -> Text:
    """Return a cell as text, with control characters as they are written in code: they could move the cursor."""
    text = cell.copy() if isinstance(cell, Text) else Text(CONTROL.sub(lambda found: repr(found[0])[1:-1], cell), style)
    text.overflow = "fold"
    return text


def _width(text: str) -> int:
    return cell_len(text)


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in text.split()] or [" "]


def _frame(widths: Sequence[int]) -> int:
    """Return the width of a table whose cells are so wide."""
    return sum(widths) + SIDES * len(widths) + 1


def _shared_out(natural: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Return widths between the least and the natural ones; what is to spare goes where most is wanted."""
    widths, wanted = list(least), [most - few for most, few in zip(natural, least, strict=True)]
    spare = max(0, min(width - sum(least), sum(wanted)))
    shares = [spare * want // max(1, sum(wanted)) for want in wanted]
    widths = [least + share for least, share in zip(widths, shares, strict=True)]
    for _ in range(spare - sum(shares)):
        neediest = max(range(len(widths)), key=lambda n: natural[n] - widths[n])
        widths[neediest] += 1
    return widths
