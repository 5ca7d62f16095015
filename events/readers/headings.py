"""What stands above the rows of a file of text, and how its names belong to the fields of the rows.

::

    # exported on Monday          lines above the heading: comments, a title, Excel's "sep=;"
    user_id,item_id,timestamp     the heading
    0,17,36.0,-0.17,0.4           rows with more fields: the names are those of the first ones (JODIE)
    1,0,17,36.0                   or of the last ones, behind a number of the row (R's write.table)

Which of the two holds is told by where the times are; where that doesn't tell, nothing is guessed.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from rankstream.events.guess import SYNONYMS, names_a_field, plain_name
from rankstream.events.readers.dates import BLANKS, MAX_TEXT, like_a_time

MAX_ABOVE = 20  # lines above a heading
COMMENT = "#"
EXCEL_SAYS = re.compile(r"\s*\"?sep=(?P<delimiter>[^\"\r\n])\"?[;,\s]*", re.IGNORECASE)
ALIKE = 0.9  # share of the first rows that decides
NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?(?:[eE][+-]?[0-9]+)?")


def lines_above(head: str, delimiters: Collection[str]) -> int:
    """Return how many lines stand above a file's heading, or above its rows where it has none."""
    lines = head.splitlines()[: MAX_ABOVE + 1]
    above = 0
    for at, line in enumerate(lines):
        if _is_heading_line(line, delimiters):
            return at if all(_is_no_row(one, line, delimiters) for one in lines[:at]) else above
        if at == above and _is_remark(line):
            above = at + 1
    return above if above < len(lines) and any(map(str.strip, lines[:above])) else 0


def told_delimiter(line: str) -> str | None:
    """Return the delimiter that a first line names, as Excel writes it; None for any other line."""
    found = EXCEL_SAYS.fullmatch(line)
    return found["delimiter"] if found else None


def without_mark(name: str) -> str:
    """Return the first name of a heading that begins as comments do."""
    return name.lstrip(COMMENT + BLANKS) if name.startswith(COMMENT) else name


def named_fields(names: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """Return a name for each field of rows that have other numbers of fields than their heading has names.

    None where the rows are as the heading says, or where it can't be told which names are theirs.
    """
    width = common_width(rows)
    if width is None or width <= len(names):
        return None
    extra = tuple(f"field {at + 1}" for at in range(len(names), width))
    behind = (*names, *extra)
    if not any(any(row[len(names) :]) for row in rows):
        return behind  # a delimiter at the end of each row
    before = ("", *names) if width == len(names) + 1 and _number_the_rows(rows, width) else None
    both = [one for one in (behind, before) if one is not None]
    for like in (like_a_time, _is_number):  # the latter of times that count from when a log began
        fit = [one for one in both if _times_are(like, one, rows)]
        if fit:
            return fit[0] if len(fit) == 1 else None
    return None


def common_width(rows: Sequence[Sequence[str]]) -> int | None:
    """Return how many fields nearly all rows have; None where they differ."""
    widths = Counter(len(row) for row in rows if row)
    if not widths:
        return None
    (width, count), *_ = widths.most_common()
    return width if count >= ALIKE * widths.total() else None


def are_padded(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether fields are filled up with spaces, as of columns of a fixed width: those are no part of an id."""
    if any(name != name.strip(" ") for name in names):
        return True
    for fields in zip(*(row for row in rows if len(row) == len(names)), strict=True):
        texts = [text for text in fields if text.strip(" ")]
        padded = [text for text in texts if text != text.strip(" ")]
        filled_up = len({len(text) for text in texts}) == 1 and len({len(text.strip(" ")) for text in texts}) > 1
        if padded and (filled_up or len(padded) >= ALIKE * len(texts)):
            return True
    return False


def _fields(line: str, delimiter: str) -> list[str]:
    return [field.strip(BLANKS + "\"'") for field in without_mark(line).split(delimiter)]


def _is_heading_line(line: str, delimiters: Collection[str]) -> bool:
    """Return whether most fields of a line are usual names of columns, or all but a few words beside three of them."""
    for delimiter in delimiters:
        fields = [field for field in _fields(line, delimiter) if field]
        named = sum(map(names_a_field, fields))
        if named >= 2 and (named >= 3 or named * 2 >= len(fields)):
            return True
    return False


def _is_remark(line: str) -> bool:
    return not line.strip() or line.startswith(COMMENT) or told_delimiter(line) is not None


def _is_no_row(line: str, heading: str, delimiters: Collection[str]) -> bool:
    """Return whether a line above a heading can't be one of its rows: a remark, or one of other fields."""
    if _is_remark(line):
        return True
    delimiter = max(delimiters, key=lambda one: len(heading.split(one)))
    fields, names = line.split(delimiter), heading.split(delimiter)
    return len(fields) != len(names) or sum(map(bool, map(str.strip, fields))) * 2 <= len(names)


def _number_the_rows(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether the first fields count the rows, from 0 or 1."""
    first = [row[0] for row in rows if len(row) == width]
    return first[0] in ("0", "1") and all(text == str(at) for at, text in enumerate(first, int(first[0])))


def _times_are(like: Callable[[str], bool], names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the column that is called as times are holds such; False where none is called so."""
    of_times = frozenset().union(*SYNONYMS["timestamp_ms"])
    at = [at for at, name in enumerate(names) if plain_name(name) in of_times]
    values = [row[at[0]].strip(BLANKS) for row in rows if len(row) == len(names)] if at else []
    return bool(values) and sum(map(like, values)) >= ALIKE * len(values)


def _is_number(text: str) -> bool:
    return len(text) <= MAX_TEXT and NUMBER.fullmatch(text) is not None
