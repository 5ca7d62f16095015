"""The order in which files of tests are handed out: those that wait beside those that compute, and the longest first.

``--dist loadfile`` hands files out in the order of collection. A test with a broker mostly waits, for sessions to end
and for workers to come back; handed out first of all, as they once were, such files kept four processes and one of two
processors. So both kinds go side by side from the first file to the last, each its longest first, by the seconds that
``tests/seconds.json`` says (``make test TESTS=--note-seconds`` writes it); a file that it does not name is short.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = Path(__file__).with_name("seconds.json")
SHORT_S = 1.0  # what a file is taken for that is not named
NAMED_FROM_S = 3.0
WAITING = "tests/kafka/"


def known_seconds() -> dict[str, float]:
    """Return how long files took in the run that was noted, by their paths from the root of the repository."""
    return json.loads(SECONDS.read_text())


def in_turn(files: Iterable[str], seconds: Mapping[str, float]) -> list[str]:
    """Return files in the order in which they begin: of each kind as large a share of its seconds at any time."""
    begins: dict[str, float] = {}
    kinds: dict[bool, list[str]] = {}
    for file in dict.fromkeys(files):
        kinds.setdefault(file.startswith(WAITING), []).append(file)
    for kind in kinds.values():
        begins |= _shares(kind, seconds)
    return sorted(begins, key=begins.__getitem__)


def _shares(files: list[str], seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the share of a kind's seconds that comes before each file, the longest first."""
    lasts = {file: seconds.get(file, SHORT_S) for file in files}
    whole, before, shares = sum(lasts.values()), 0.0, {}
    for file in sorted(files, key=lasts.__getitem__, reverse=True):
        shares[file] = before / whole
        before += lasts[file]
    return shares


def note(seconds: Mapping[str, float]) -> None:
    """Write how long files took, the longest first; short ones are left out."""
    longest = sorted(seconds.items(), key=lambda each: -each[1])
    named = {file: round(took) for file, took in longest if took >= NAMED_FROM_S}
    SECONDS.write_text(json.dumps(named, indent=2) + "\n")
