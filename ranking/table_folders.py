"""Where the tables lie that are published beside a bundle, and followed while it serves."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TableFolders:
    """The folders of versions; None: that table isn't followed."""

    user_vectors: Path | None = None  # None: no user has one
    item_counts: Path | None = None  # None: the bundle's own serve
    item_vectors: Path | None = None  # likewise
    interests: Path | None = None  # None: users' interests propose nothing
    graph: Path | None = None  # None: walks go on the sessions of the item counts alone
    catalogue: Path | None = None  # None: nothing is known of items but their vectors and counts
