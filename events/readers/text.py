"""Files of text before their rows are read: unpacking, encoding, delimiter, and whether the first row is a heading.

::

    user;sku;event;at             delimiter ";", a heading
    1::1193::5::978300760         delimiter "::", no heading: its columns are named with --columns, or known
    1 2 1082040961                delimiter " ", where nothing else splits all rows alike

Everything is told from the file's first lines. Rows are read by ``rows.py``, plainly, and by ``columns.py``, fast.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rankstream.events.arrivals import LogError
from rankstream.events.files import file_type
from rankstream.events.guess import names_a_field
from rankstream.events.readers.clocks import JoinedTime
from rankstream.events.readers.dates import like_a_time
from rankstream.events.readers.headings import (
    are_padded,
    common_width,
    lines_above,
    named_fields,
    told_delimiter,
    without_mark,
)
from rankstream.events.readers.nested import inner_paths, lifted
from rankstream.events.readers.unpacked import NOT_WHOLE, not_utf8, open_bytes, why_not_utf8

DELIMITERS = ("\t", "::", ";", "|", ",")  # of two that fit alike the first one: a comma stands in numbers, too
UNQUOTED = ("::",)  # MovieLens' files, in which a quote is a letter as any other
SUBSTITUTE = "\x1f"  # stands for a delimiter of two characters where readers know only one
NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
HEAD_BYTES = 1 << 16
MAX_LINE = 8 << 20  # bytes of a first line that is longer than that
HEAD_ROWS = 100
MAX_SHOWN = 200  # characters of a row in a sentence
SPACED_COLUMNS = 3  # at least, of a file with spaces between them: a user, an item and a time
CONSISTENT = 0.9  # share of the first rows that must have as many fields as the first one
OTHER_FILES = {  # by their first bytes: what they are, and what to do
    b"\x1f\x8b": "packed by gzip; let its name end with .gz",
    b"\x28\xb5\x2f\xfd": "packed by Zstandard; let its name end with .zst",
    b"BZh": "packed by bzip2; unpack it: bunzip2 < {name} > unpacked-{name}",
    b"\xfd7zXZ": "packed by xz; unpack it: xz -dc < {name} > unpacked-{name}",
    b"PK\x03\x04": "a ZIP archive or a workbook; unpack it, or save its sheet as CSV UTF-8",
    b"PAR1": "Parquet; let its name end with .parquet",
    b"ARROW1": "an Arrow file; write Parquet of it",
    b"Obj\x01": "an Avro file; write Parquet of it",
    b"SQLite": "an SQLite database; let it write CSV: sqlite3 -header -csv {name} 'SELECT ...' > log.csv",
    b"\x80\x04\x95": "a pickle; write Parquet of it",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself: git lfs pull",
    b"<?xml": "XML; write its rows as CSV",
    b"INSERT INTO": "SQL; let the database write CSV, as psql -c '\\copy (SELECT ...) TO log.csv CSV HEADER'",
    b"<!DOCTYPE": "a web page; look at it, it may say why there is no file",
    b"<html": "a web page; look at it, it may say why there is no file",
}
# Each digit can be read in one way only: a long run of them that ends in something else takes linear time to refuse.
NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
FRACTION = re.compile(r"\s*[+-]?\d*[.,]\d+\s*")  # of a coordinate or a price, and no id
MILLISECONDS = re.compile(r"\d{13}")  # since 1970
DATE = re.compile(r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ].*)?")


MAGIC_BYTES = max(map(len, OTHER_FILES))
DAY, ZONE = "day", "zone"  # of a web server's time, which has a space in it: [10/Oct/2000:13:55:36 -0700]

csv.field_size_limit(MAX_LINE)  # of the process; the module's own ends at a long description


@dataclass(frozen=True)
class Layout:
    """What is known of a file before its rows are read."""

    path: Path
    type: str  # parquet, text or json
    columns: tuple[str, ...]  # of JSON lines: those of the first lines
    delimiter: str = ","  # of text
    skip: int = 1  # rows of text before the data: the heading, and empty ones before it
    quoted: bool = True  # of text: whether a field may stand in quotes, and then hold delimiters and line ends
    first_rows: tuple[tuple[str, ...], ...] = ()  # of text, without the heading
    parts: JoinedTime | None = None  # the columns whose texts make one time
    inner: tuple[str, ...] = ()  # paths of fields within objects: of JSON lines those of the first lines
    paths: tuple[str, ...] = ()  # those of them that are read, which are columns, too
    above: int = 0  # of text: lines before the heading, or the rows, that are neither
    padded: bool = False  # of text: whether fields are filled up with spaces, which are no part of them
    notes: tuple[str, ...] = ()  # what is to be said of it

    def whole(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row of JSON with what is read of its objects on top, and the parts of its time as one."""
        row = lifted(row, self.paths)
        return row if self.parts is None else self.parts.joined(row)


def delimiter_of(given: str) -> str:
    """Return a delimiter by its name or as it is. Raises ``LogError``."""
    delimiter = NAMED_DELIMITERS.get(given, given)
    if delimiter not in DELIMITERS and (len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\r\n'):
        raise LogError(f"the delimiter {given!r} can't be read; give one character, tab or ::")
    return delimiter


def text_layout(path: Path, delimiter: str | None = None, names: Sequence[str] | None = None) -> Layout:
    """Return the layout of a file of delimited text; ``names`` are those of a file without a heading.

    Raises ``LogError``.
    """
    head = _head(path)
    _check_no_json(path, head)
    above = lines_above(head, DELIMITERS if delimiter is None else (delimiter,))
    passed = head.splitlines(keepends=True)[:above]
    told = next(filter(None, map(told_delimiter, passed)), None)
    chosen, quoted, rows = _split("".join(head.splitlines(keepends=True)[above:]), delimiter or told)
    full = [tuple(row) for row in rows if row]
    if not any(field.strip() for row in full for field in row):
        return Layout(path, "text", tuple(names or ()), chosen, skip=0)
    first = (without_mark(full[0][0]), *full[0][1:])
    heading = first == tuple(names) if names is not None else _is_heading(first)
    if names is not None and len(first) != len(names) == common_width(full[1:]):
        heading = True  # which has fewer names than the rows have fields, or more
    if heading and any(map(not_utf8, first)):
        raise LogError(why_not_utf8(path) or f"{path} is no UTF-8")
    columns = tuple(names) if names is not None else first if heading else ()
    notes = _of_lines_above(path, passed)
    if names is None and heading:
        columns, of_names = _names_of_fields(path, first, full[1:])
        notes = (*notes, *of_names)
    elif names is not None and not heading and len(columns) != len(first):
        raise LogError(
            f"--columns names {len(columns)} columns, but the first row of {path} has {len(first)}: {_shown(first)}"
        )
    data = full[heading:]
    if padded := are_padded(columns, data):
        columns = tuple(name.strip(" ") for name in columns)
        notes = (*notes, f"{path}: spaces around its fields are taken for no part of them")
    skip = rows.index(list(full[0])) + 1 if heading else 0
    return Layout(path, "text", columns, chosen, skip, quoted, tuple(data), above=above, padded=padded, notes=notes)


def _check_no_json(path: Path, head: str) -> None:
    """Raise ``LogError`` for text whose first line is an object of JSON, or ends with one."""
    line = next(filter(None, map(str.strip, head.splitlines())), "")
    if not line.endswith("}") or '{"' not in line:
        return
    if line.startswith("{"):
        raise LogError(f"{path} holds JSON lines; let its name end with .jsonl")
    raise LogError(
        f"{path} holds an object of JSON behind other columns; leave those out: "
        f"sed 's/^[^{{]*//' {path.name} > {path.stem}.jsonl"
    )


def _of_lines_above(path: Path, passed: Sequence[str]) -> tuple[str, ...]:
    """Return what is to be said of lines that are passed over; nothing of empty ones and of the delimiter's name."""
    said = [line.strip() for line in passed if line.strip() and told_delimiter(line) is None]
    return (f"{path}: what stands above its rows is passed over, as {said[0][:MAX_SHOWN]!r}",) if said else ()


def _names_of_fields(
    path: Path, names: tuple[str, ...], rows: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a name for each field of the rows, and what is to be said of it. Raises ``LogError``."""
    width = common_width(rows)
    if width is None or width == len(names) or width < 2:
        return names, ()
    if (found := named_fields(names, rows)) is None:
        raise LogError(
            f"the heading of {path} has {len(names)} names, and its rows have {width} fields, as {_shown(rows[0])}; "
            f"name those with --columns NAME,NAME,... ({width} names)"
        )
    if found[0] == names[0] and not any(any(row[len(names) :]) for row in rows):
        return found, ()  # a delimiter at the end of each row
    which = "first" if found[0] == names[0] else "last"
    return found, (
        f"{path}: its heading has {len(names)} names and its rows {width} fields, so the names are those of the "
        f"{which} ones; --columns says otherwise",
    )


def check_names(layout: Layout) -> None:
    """Raise ``LogError`` for a name that several columns have."""
    repeated = [name for name, count in Counter(layout.columns).items() if count > 1 and name]
    if repeated:
        raise LogError(f"{layout.path} has several columns of the name {', '.join(repeated)}; give each its own name")


def json_layout(path: Path) -> Layout:
    """Return the layout of a file of JSON lines: the keys of its first ones. Raises ``LogError``."""
    lines = _head(path).splitlines()
    if _is_array(lines):
        raise LogError(
            f"{path} is one JSON array, not a message a line; write its elements a line each: "
            f"jq -c '.[]' {path.name} > {path.stem}.jsonl"
        )
    if next(filter(str.strip, lines), "").strip() == "{":
        raise LogError(
            f"{path} has JSON objects over several lines; write each on a line of its own: "
            f"jq -c . {path.name} > {path.stem}.jsonl"
        )
    if remedy := _of_columns(path, lines):
        raise LogError(remedy)
    columns: dict[str, None] = {}
    inner: dict[str, None] = {}
    for line in lines[:HEAD_ROWS]:
        columns.update(dict.fromkeys(_keys(path, line)))
        inner.update(dict.fromkeys(_inner_paths(line)))
    return Layout(path, "json", tuple(columns), inner=tuple(inner))


def why_no_heading(layout: Layout) -> LogError:
    """Return the refusal of text without a heading: its first row, and the flag that would read it."""
    names = _likely_names(layout.first_rows)
    both = f" --map timestamp_ms={DAY}+{ZONE}" if DAY in names else ""
    return LogError(
        f"{layout.path} has no heading, its first row is {_shown(layout.first_rows[0])}; name its columns, for "
        f"example --columns {','.join(names)}{both}"
    )


def _head(path: Path) -> str:
    """Return the first whole lines, in which bytes that are no UTF-8 are marked. Raises ``LogError``."""
    try:
        with open_bytes(path) as file:
            block = file.read(HEAD_BYTES)
            if len(block) == HEAD_BYTES:
                block = block[: block.rfind(b"\n") + 1] or block + file.readline(MAX_LINE)
    except NOT_WHOLE as exc:
        raise LogError(f"{path} can't be read ({exc}); give a whole file") from exc
    if other := what_else(path, block):
        raise LogError(f"{path} is no text by what it holds, but {other}")
    if nuls := block.count(b"\0"):
        how = (
            f"take them out: tr -d '\\000' < {path.name} > clean-{path.name}"
            if nuls * 10 < len(block)
            else f"if it is UTF-16, convert it: iconv -f UTF-16LE -t UTF-8 {path.name} > utf8-{path.name}"
        )
        raise LogError(f"{path} is no text: it has NUL bytes, the first is byte {block.index(0):,}; {how}")
    return block.decode(errors="surrogateescape")


def what_else(path: Path, block: bytes) -> str | None:
    """Return what a file is by its first bytes, and what to do; None if that is not known."""
    found = (name for magic, name in OTHER_FILES.items() if block.startswith(magic))
    return next((name.format(name=path.name) for name in found), None)


def split_rows(lines: Iterable[str], delimiter: str, quoted: bool) -> Iterator[list[str]]:
    """Yield the fields of each row of text; an empty row has none."""
    one = delimiter if len(delimiter) == 1 else SUBSTITUTE
    substituted = lines if one == delimiter else (line.replace(delimiter, one) for line in lines)
    return csv.reader(substituted, delimiter=one, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)


def _split(head: str, given: str | None) -> tuple[str, bool, list[list[str]]]:
    """Return the delimiter, whether fields are quoted, and the first rows: by what splits them most evenly."""
    best: tuple[Any, ...] = ()
    for at, delimiter in enumerate(DELIMITERS if given is None else (given,)):
        for quoted in (delimiter not in UNQUOTED,) if delimiter != "\t" else (True, False):
            rows = _first_rows(head, delimiter, quoted)
            widths = [len(row) for row in rows if row] or [0]
            width = widths[0]
            alike = widths.count(width) / len(widths)
            score = (width > 1, alike >= CONSISTENT, width, alike, quoted, -at)
            if not best or score > best[0]:
                best = (score, delimiter, quoted, rows)
    (several, *_), delimiter, quoted, rows = best
    if quoted and any(_swallows(row, delimiter) for row in rows):
        unquoted = _first_rows(head, delimiter, quoted=False)
        if common_width(unquoted) == len(rows[0]):
            quoted, rows = False, unquoted
    if given is None and not several and (spaced := _between_spaces(head)):
        return " ", True, spaced
    if several and len(delimiter) == 1 and all(field.startswith(" ") for row in rows for field in row[1:]):
        delimiter, quoted = f"{delimiter} ", False  # "u1, i1, view": the space is no part of an id
        rows = _first_rows(head, delimiter, quoted)
    return (delimiter if several or given else ","), quoted, rows


def _swallows(row: Sequence[str], delimiter: str) -> bool:
    """Return whether a field in quotes holds whole rows, as where a quote is a letter that is never closed."""
    lines = (line for field in row if "\n" in field for line in field.split("\n")[1:-1])
    return any(len(line.split(delimiter)) == len(row) for line in lines)


def _between_spaces(head: str) -> list[list[str]]:
    """Return the first rows of a file in which spaces stand between columns, as in SNAP's; none of any other file.

    Texts hold spaces too, so this is asked where nothing else splits a row, and then all rows are to be split alike.
    """
    rows = _first_rows(head, " ", quoted=True)
    widths = {len(row) for row in rows if row}
    return rows if len(widths) == 1 and widths.pop() >= SPACED_COLUMNS and all(map(all, rows)) else []


def _first_rows(head: str, delimiter: str, quoted: bool) -> list[list[str]]:
    rows: list[list[str]] = []
    with suppress(csv.Error):  # a field that is longer than the module allows, in quotes that don't end
        rows.extend(islice(split_rows(io.StringIO(head, newline=""), delimiter, quoted), HEAD_ROWS))
    return rows


def _is_heading(row: Sequence[str]) -> bool:
    """Return whether a row holds names of columns: two that are usual ones, or at least no number and no date."""
    if sum(map(names_a_field, row)) > 1:
        return True
    return not any(NUMBER.fullmatch(field) or DATE.fullmatch(field) for field in row)


def _likely_names(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return names for the columns of rows, by what they hold: for a sentence, nothing is read by them."""
    names: list[str] = []
    left = ["user_id", "item_id"]
    for at, fields in enumerate(zip(*(row for row in rows if len(row) == len(rows[0])), strict=True)):
        if (
            not {"timestamp", "timestamp_ms"} & set(names)
            and any(fields)
            and all(map(like_a_time, filter(None, fields)))
        ):
            names.append("timestamp_ms" if all(map(MILLISECONDS.fullmatch, fields)) else "timestamp")
        elif all(field.startswith("[") for field in fields) and DAY not in names:
            names.append(DAY)
        elif DAY in names and ZONE not in names and all(field.endswith("]") for field in fields):
            names.append(ZONE)
        elif left and not any(map(FRACTION.fullmatch, fields)):
            names.append(left.pop(0))
        elif "action" not in names and all(map(_like_a_word, fields)):
            names.append("action")
        else:
            names.append(f"column{at + 1}")
    return names


def _like_a_word(field: str) -> bool:
    return field.replace("_", "").replace("-", "").isalpha()


def _shown(row: Sequence[str]) -> str:
    return ", ".join(row)[:MAX_SHOWN].encode(errors="replace").decode()


def _is_array(lines: Sequence[str]) -> bool:
    text = "".join(lines[:2]).lstrip()
    return text.startswith("[") and text[1:].lstrip()[:1] in ("{", "")


def _keys(path: Path, line: str) -> Collection[str]:
    """Return the keys of a JSON object; none for a line that is none. Raises ``LogError`` for one that comes twice."""
    try:
        pairs = json.loads(line, object_pairs_hook=lambda pairs: pairs)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return ()
    keys = [key for key, _ in pairs]
    for key, count in Counter(keys).items():
        if count > 1:
            raise LogError(f"a line of {path} has the key {key} {count} times; keep one of them")
    return keys


def _of_columns(path: Path, lines: Sequence[str]) -> str | None:
    """Return the refusal of one object that holds whole columns, as pandas writes them; None for any other file."""
    full = [line for line in lines if line.strip()]
    try:
        held = list(json.loads(full[0]).values()) if len(full) == 1 else []
    except (ValueError, RecursionError, AttributeError):
        return None
    if len(held) < 2 or not all(isinstance(one, list | dict) and len(one) == len(held[0]) > 0 for one in held):
        return None
    if any(isinstance(one, dict) and one.keys() != held[0].keys() for one in held if isinstance(held[0], dict)):
        return None
    return (
        f"{path} is one JSON object that holds columns, not a message a line; write its rows a line each: "
        "jq -c '. as $all | (first(.[]) | keys[]) as $row | $all | map_values(.[$row])' "
        f"{path.name} > {path.stem}.jsonl"
    )


def _inner_paths(line: str) -> Collection[str]:
    """Return the paths of the fields within objects of a JSON object; none for a line that is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return ()
    return inner_paths(row) if isinstance(row, dict) else ()


def needs_pyarrow(path: Path) -> LogError:
    """Return the refusal of a file that only pyarrow reads."""
    return LogError(f'reading {path} needs pyarrow: pip install "rankstream[train]"')


def layout_of(path: Path, delimiter: str | None = None, names: Sequence[str] | None = None) -> Layout:
    """Return what is known of a file before its rows are read. Raises ``LogError``."""
    kind = file_type(path)
    if kind == "text":
        return text_layout(path, delimiter, names)
    if kind == "json":
        return json_layout(path)
    try:
        from rankstream.events.readers.columns import parquet_columns, parquet_paths
    except ImportError as exc:
        raise needs_pyarrow(path) from exc
    columns = parquet_columns(path)
    return Layout(path, "parquet", columns, inner=parquet_paths(path))
