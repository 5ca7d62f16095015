"""Item counts: dense features of items and which of them go together, all counted from a log as of one time.

A bundle holds those of the end of its training; a job counts them anew and publishes versions (``files.py``), as it
does with user vectors. Item vectors are not among them: recurrent session states are folded with those of the bundle,
and must not depend on a version.
"""

from dataclasses import dataclass

from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.matches.tables import MatchTables


@dataclass(frozen=True)
class ItemCounts:
    """One version, in memory or mapped."""

    item_features: EmbeddingTable  # F wide; its space names the item vectors of the bundle that it belongs to
    feature_names: tuple[str, ...]  # (F,)
    matches: MatchTables
    match_features: int  # that a ranker makes of the matches; 0 for a model without any
    version: str | None = None  # None for what was not published

    @property
    def space(self) -> str:
        """Name the vector space of the items that were counted."""
        return self.item_features.space

    @property
    def as_of_ms(self) -> int:
        """As-of time, UTC: what happened until then is counted."""
        return self.item_features.as_of_ms
