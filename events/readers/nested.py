"""Fields that lie deeper than on top, of JSON lines and of structures of Parquet, and how they are named.

::

    {"session": 7, "events": [{"aid": 5, "ts": 1661724000278}]}        a list of rows: a line each
    {"type": "WatchEvent", "actor": {"id": 7}, "repo": {"id": 3}}      --map user_id=actor.id --map item_id=repo.id
    {"at": {"$date": "2023-11-14T22:13:20Z"}}                          --map timestamp_ms='at.$date'
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rankstream.events.guess import fitting
from rankstream.events.skipped import listed

DOT = "."  # between the names on the way to a field
MAX_DEEP = 4  # names of such a way
SOME = 6  # paths that are named in a sentence
MAX_INNER = 200  # fields of a row that are looked at


def lifted(row: dict[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Return a row with the fields at these paths on top, by the names of their paths."""
    if not paths:
        return row
    found = {path: _at(row, path) for path in paths if path not in row}
    return row | {path: value for path, value in found.items() if value is not None}


def inner_paths(row: Mapping[str, Any]) -> list[str]:
    """Return the paths of the fields that lie in objects of a row, and are none themselves."""
    return [path for path, _ in zip(_walked(row, ()), range(MAX_INNER), strict=False) if DOT in path]


def paths_of(paths: Collection[str], names: Sequence[str], taken: Collection[str] = ()) -> dict[str, str]:
    """Return which path each of the fields ``names`` may be at, by the last names of the path."""
    found: dict[str, str] = {}
    for name in names:
        free = [path for path in paths if path not in (*taken, *found.values())]
        for parts in (slice(-1, None), slice(-2, None), slice(-2, -1)):  # the last for ts.$date and user_id.S
            ends = {DOT.join(path.split(DOT)[parts]): path for path in reversed(free)}
            fits = [name] if name in ends else fitting(list(ends), [name]).get(name, [])
            if fits:
                found[name] = ends[fits[0]]
                break
    return found


def nested(row: Mapping[str, Any], name: str, others: Sequence[str] = ()) -> str:
    """Return what to do with a row in which a missing field may lie deeper; nothing where it is flat.

    ``others`` are fields that are missing, too.
    """
    lists = [key for key, held in row.items() if isinstance(held, list) and held and isinstance(held[0], dict)]
    inner = inner_paths(row)
    fits = paths_of(inner, [name, *others])
    if any(name in row[key][0] or fitting(row[key][0], [name]) for key in lists):
        return ""  # the file's own refusal says how to make a row of each
    if lists and name not in fits:
        return f"; {lists[0]} holds rows of its own, so write each as one: {a_row_each(lists[0])}"
    if name in fits:
        return f"; it may lie deeper: {' '.join(f'--map {field}={path}' for field, path in fits.items())}"
    texts = [key for key, held in row.items() if isinstance(held, str) and held.startswith("{") and held.endswith("}")]
    if texts:
        return f"; the text {texts[0]} holds an object of its own, so bring that on top: jq -c '.{texts[0]} | fromjson'"
    if not inner:
        return f"; it has {listed(list(row))}: name one with --map {name}=COLUMN" if row else ""
    if len(inner) == 1:
        return f"; {inner[0]} lies deeper: if it is meant, say --map {name}={inner[0]}"
    return f"; {_some(inner)} lie deeper: name the one that is meant with --map {name}=PATH"


def a_row_each(name: str) -> str:
    """Return the command that makes a row of each element of a list."""
    return f"jq -c '. as $row | .{name}[] | ($row | del(.{name})) + .'"


def of_an_object(name: str, column: str, value: Any) -> str:
    """Return how the value is named that a field holds within an object; nothing where it holds none."""
    inner = inner_paths({column: value}) if isinstance(value, dict) else []
    if not inner:
        return ""
    if len(inner) > 1 and name not in (fits := paths_of(inner, [name])):
        return f"; it holds {_some(inner)}: name the one that is meant with --map {name}=PATH"
    return f"; name what is meant of it: --map '{name}={inner[0] if len(inner) == 1 else fits[name]}'"


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths) if len(paths) <= SOME else f"{', '.join(paths[:SOME])} and {len(paths) - SOME} more"


def _walked(row: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[str]:
    for key, value in row.items():
        if not isinstance(value, dict):
            yield DOT.join((*above, key))
        elif len(above) + 1 < MAX_DEEP:
            yield from _walked(value, (*above, key))


def _at(row: Mapping[str, Any], path: str) -> Any:
    """Return what lies at a path; None for nothing."""
    value: Any = row
    for name in path.split(DOT):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
