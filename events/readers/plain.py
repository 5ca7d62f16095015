"""The plain reader of any file, a row at a time: what fast ones are held to; text is read so without pyarrow."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from rankstream.events.arrivals import Arrivals
from rankstream.events.readers.json_lines import Reading, RowReader
from rankstream.events.readers.rows import Row, Shape, rows_of
from rankstream.events.readers.text import Layout


@dataclass(frozen=True)
class PlainReader:
    """Reads a file row by row."""

    layout: Layout
    columns: tuple[str, ...] | None = None  # those that are read; all

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals of the rows."""
        return RowReader(self.rows()).read(reading.of(self.layout.path))

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        actions: set[str] = set()
        surfaces: set[str] = set()
        for row in self.rows():
            for name, found in (("action", actions), ("surface", surfaces)):
                given = shape.constants.get(name) or row.get(shape.column(name))
                if isinstance(given, str) and given:
                    found.add(given)
        return actions, surfaces

    def rows(self) -> Generator[Row, None, None]:
        """Yield the rows as they lie in the file."""
        yield from rows_of(self.layout, self.columns)
