"""Who may not read or write what is there: another user, and a folder that this one comes to.

The folders of pytest can be entered by who runs it alone, which would be the only reason ever given.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def entered_by_all() -> Iterator[Path]:
    """Make a folder that every user may enter and read, outside of pytest's own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be a user who owns nothing; skipped where this one may not become another."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
