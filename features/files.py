"""Files as they are checked: checksums."""

import hashlib
from pathlib import Path

HASHED_AT_ONCE = 1 << 20  # bytes


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(HASHED_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()
