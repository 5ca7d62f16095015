"""The part that is the match tables: which items go together (``features/matches/tables.py``)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankstream.bundles.parts import BundlePart, Part, Written
from rankstream.features.matches.tables import MATCH_FILES, MatchTables, write_matches

MATCHES = "matches"


def matches_part(width: int, facts: Mapping[str, Any] | None = None) -> Part:
    """Return what the manifest lists of the tables, which lie in a folder named as the kind."""
    files = tuple(f"{MATCHES}/{name}" for name in MATCH_FILES)
    return Part(kind=MATCHES, files=files, sizes={"match_features": width}, facts=dict(facts or {}))


def export_matches(tables: MatchTables, width: int, facts: Mapping[str, Any] | None = None) -> BundlePart:
    """Return the part that writes the tables into the bundle, for a ranker of ``width`` match features."""

    def write(folder: Path) -> Written:
        write_matches(folder / MATCHES, tables)
        return Written()

    return BundlePart(matches_part(width, facts), write)
