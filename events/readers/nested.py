"""JSON lines whose fields lie deeper than on top, and how they are brought there.

::

    {"session": 7, "events": [{"aid": 5, "ts": 1661724000278}]}        a list of rows: a line each
    {"type": "WatchEvent", "actor": {"id": 7}, "repo": {"id": 3}}      objects: the field that is meant, on top
"""

from collections.abc import Mapping
from typing import Any


def nested(row: Mapping[str, Any], name: str) -> str:
    """Return what to do with a row in which a missing field may lie deeper; nothing where it is flat."""
    lists = [key for key, held in row.items() if isinstance(held, list) and held and isinstance(held[0], dict)]
    if lists:
        return f"; {lists[0]} holds rows of its own, so write each as one: jq -c '. as $row | .{lists[0]}[] | $row + .'"
    objects = [key for key, held in row.items() if isinstance(held, dict) and held]
    if not objects:
        return ""
    inner = f".{objects[0]}.{next(iter(row[objects[0]]))}"
    return (
        f"; only fields on top are read, and {', '.join(objects)} hold more: write the one that is meant on top, as by "
        f"jq -c '. + {{{name}: {inner}}}'"
    )
