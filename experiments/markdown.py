"""Results as Markdown: tables, and the markers of a page between which they stand.

::

    <!-- table:ranker -->
    | row | HIT@3 |            rewritten by `python -m rankstream.experiments.tables`, never by hand
    <!-- /table -->
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path


class NoMarkersError(ValueError):
    """A page lacks the markers of a table."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column reads left, numbers right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_tables(page: Path, tables: Mapping[str, str]) -> None:
    """Put each table between its markers, nothing else changed. Raises ``NoMarkersError`` for one without markers."""
    text = page.read_text(encoding="utf-8")
    for name, content in tables.items():
        text = between_markers(text, name, content, str(page))
    page.write_text(text, encoding="utf-8")


def between_markers(text: str, name: str, content: str, where: str = "the page") -> str:
    """Return the text with the part between the markers of ``name`` replaced."""
    start, end = f"<!-- table:{name} -->", "<!-- /table -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise NoMarkersError(
            f"{where} has no markers for the table {name}; write '{start}' and '{end}' where it belongs"
        )
    return pattern.sub(lambda _: f"{start}\n{content}\n{end}", text)


def mean_and_interval(mean: float, interval: Sequence[float], digits: int = 3) -> str:
    """Write ``.412 [.398, .426]``."""
    low, high = (short(bound, digits) for bound in interval)
    return f"{short(mean, digits)} [{low}, {high}]"


def short(number: float, digits: int = 3) -> str:
    """Write a number without the zero before its point: ``.412``, ``-.020``."""
    text = f"{number:z.{digits}f}"  # z: what rounds to nothing has no sign
    return text.replace("0.", ".", 1) if abs(number) < 1 else text
