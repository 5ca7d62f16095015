"""Profiles: what users are apart from what they do, as labels of a few facets, frozen with the model.

::

    users           u3  u7  u9  -     sorted by key; behind them stands any user of whom nothing is known
    codes    sex     1   2   0  0     0: not known
             age     3   1   3  0     a number's labels are its ranges

    columns of u7   sex: F 0, sex: M 1, age: up to 24 1, age: up to 40 0, age: above 0

A request has one column for each label, 1 where the user has it. All columns of a facet that is not known of a user are
0, as are all of an unknown user, and the ranker is trained on such requests too.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64

from rankstream.features.decoding import UNREADABLE
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.files import read_array
from rankstream.features.ids import Keys
from rankstream.features.schema import Floats, Ints

Codes = npt.NDArray[np.uint8]

MAX_LABELS = 32  # of a facet, so that a code fits into a byte and the context stays narrow
KEYS_FILE, CODES_FILE, FACETS_FILE = "keys.npy", "codes.npy", "facets.json"
PROFILE_FILES = (KEYS_FILE, CODES_FILE, FACETS_FILE)


class Facet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that may be known of a user."""

    name: str
    labels: tuple[str, ...]  # of the codes from 1 on


@dataclass(frozen=True)
class UserProfiles:
    """What is known of all users. Raises ``ValueError`` where the arrays are not of these facets."""

    facets: tuple[Facet, ...]
    keys: Keys  # (n,) sorted
    codes: Codes  # (n + 1, facets), the last row of any other user

    def __post_init__(self) -> None:
        wanted = (*(count + 1 for count in self.keys.shape), len(self.facets))  # none but of a column of keys
        if self.codes.shape != wanted or self.keys.dtype != np.uint64 or self.codes.dtype != np.uint8:
            given = f"{self.codes.dtype}{self.codes.shape}, keys {self.keys.dtype}{self.keys.shape}"
            raise ValueError(f"codes are {given}; wanted uint8{wanted} and uint64")
        most = np.array([len(facet.labels) for facet in self.facets], np.int64)
        if (self.codes > most).any() or self.codes[-1].any():
            raise ValueError("codes are not those of the facets' labels, or an unknown user has some")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def width(self) -> int:
        """Return how many columns a request has of them."""
        return sum(len(facet.labels) for facet in self.facets)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Return what each column is, in words."""
        return tuple(f"{facet.name}: {label}" for facet in self.facets for label in facet.labels)

    @cached_property
    def _search(self) -> KeySearch:
        return KeySearch(self.keys)

    @cached_property
    def _before(self) -> Ints:
        """Return the column of each facet's code 0, which has none, ``(facets,)``: one before its first label's."""
        counts = [len(facet.labels) for facet in self.facets]
        return np.cumsum([0, *counts])[: len(counts)] - 1

    def columns(self, user_key: int) -> Floats:
        """Return the columns of a user, ``(width,)``."""
        found = np.zeros(self.width, np.float32)
        if len(found):
            rows, known = self._search.find(np.array([user_key], np.uint64))
            codes = self.codes[rows[0] if known[0] else -1]
            found[(self._before + codes)[codes > 0]] = 1.0
        return found

    def of_no_user(self) -> "UserProfiles":
        """Return profiles of the same columns that know no user."""
        return UserProfiles(self.facets, self.keys[:0], self.codes[-1:])


def no_profiles() -> UserProfiles:
    """Return profiles that say nothing: of a model that was trained without."""
    return UserProfiles((), np.zeros(0, np.uint64), np.zeros((1, 0), np.uint8))


def profiles_tag(profiles: UserProfiles) -> int:
    """Return 64 bits that name the content."""
    digest = xxh3_64(msgspec.json.encode(profiles.facets))
    for array in (profiles.keys, profiles.codes):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.intdigest()


def write_profiles(folder: Path, profiles: UserProfiles) -> None:
    """Write ``PROFILE_FILES`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / KEYS_FILE, profiles.keys, allow_pickle=False)
    np.save(folder / CODES_FILE, profiles.codes, allow_pickle=False)
    (folder / FACETS_FILE).write_bytes(msgspec.json.encode(profiles.facets))


def open_profiles(folder: Path) -> UserProfiles:
    """Read what ``write_profiles`` wrote. Raises ``OSError`` or ``ValueError``."""
    keys, codes = read_array(folder / KEYS_FILE), read_array(folder / CODES_FILE)
    try:
        facets = msgspec.json.decode((folder / FACETS_FILE).read_bytes(), type=tuple[Facet, ...])
        return UserProfiles(facets, keys, codes)
    except UNREADABLE as exc:
        raise ValueError(f"{folder / FACETS_FILE} can't be read ({exc})") from exc
    except ValueError as exc:
        raise ValueError(f"{folder / CODES_FILE} can't be read ({exc})") from exc
