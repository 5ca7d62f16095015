"""Published versions of users' interests: written whole or not at all, mapped when opened, and verified to the byte.

::

    root/
        CURRENT                          as of an embedding table (``features/embeddings/files.py``)
        000007-9c3f5a01e2d4b678/
            header.json                  item space, sizes, as-of time, decay, checksums of the columns
            users.u64  starts.i64        (n,) keys, sorted, and (n + 1,) where each user's interests start
            medoids.u64                  (m,) keys of items
            importances.f32              (m,) as of the header's time, the most important of a user first
            actions.i32                  (m,) that each is made of

Medoids are keys of items, so any version of the item vectors of that space can look them up.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from rankstream.features.embeddings import files
from rankstream.features.embeddings.files import KEPT_VERSIONS, BrokenTableError, Column
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.ids import Id, id_keys
from rankstream.features.interests.interests import NO_INTERESTS, UserInterests

FORMAT = 1
USERS, STARTS, MEDOIDS = "users.u64", "starts.i64", "medoids.u64"
IMPORTANCES, ACTIONS = "importances.f32", "actions.i32"
DTYPES = {USERS: "<u8", STARTS: "<i8", MEDOIDS: "<u8", IMPORTANCES: "<f4", ACTIONS: "<i4"}
AGAIN = "publish interests again with `rankstream embed --interests-to`"


class InterestsHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The metadata of a version."""

    format: int = FORMAT
    item_space: str  # of the item vectors that they were found among
    users: Annotated[int, Meta(ge=0)]  # n
    interests: Annotated[int, Meta(ge=0)]  # m
    as_of_ms: int  # UTC: what happened until then is in them
    decay_per_day: Annotated[float, Meta(ge=0)]  # of importances, also after the as-of time
    max_merge_distance: float  # that they were found with; to be read, nothing depends on it
    checksums: dict[str, str] = {}  # xxh3_128 of each column's file


class InterestTable:
    """One version, mapped into memory; safe to read from many threads."""

    def __init__(self, version: str, header: InterestsHeader, columns: Mapping[str, Column]) -> None:
        self.version = version
        self.header = header
        self.columns = columns
        self._search = KeySearch(columns[USERS])

    def __len__(self) -> int:
        return self.header.users

    @property
    def space(self) -> str:
        """Name of the vector space of the items."""
        return self.header.item_space

    @property
    def as_of_ms(self) -> int:
        """As-of time of the interests, UTC."""
        return self.header.as_of_ms

    def of(self, user_key: int) -> UserInterests | None:
        """Return a user's interests as of the table's time; None for a user who is not in it."""
        rows, found = self._search.find(np.array([user_key], np.uint64))
        if not found[0]:
            return None
        start, end = self.columns[STARTS][rows[0] : rows[0] + 2].tolist()
        medoids, importances, actions = (self.columns[name][start:end] for name in (MEDOIDS, IMPORTANCES, ACTIONS))
        return UserInterests(medoids, importances, actions)


def publish_interests(
    root: Path,
    users: Sequence[Id],
    interests: Sequence[UserInterests],
    *,
    item_space: str,
    as_of_ms: int,
    decay_per_day: float,
    max_merge_distance: float,
    keep: int = KEPT_VERSIONS,
) -> Path:
    """Publish the interests of each user as the newest version, whole or not at all; return the version's folder.

    All but the newest ``keep`` versions are deleted. Raises ``ValueError`` for users that are repeated, or collide as
    keys.
    """
    columns = _columns(users, interests)
    header = InterestsHeader(
        item_space=item_space,
        users=len(users),
        interests=len(columns[MEDOIDS]),
        as_of_ms=as_of_ms,
        decay_per_day=decay_per_day,
        max_merge_distance=max_merge_distance,
    )
    with files.publishing(root):
        return files.write_version(root, header, columns, keep)


def open_interests(root: Path) -> InterestTable:
    """Map the current version and verify it. Raises ``BrokenTableError``."""
    return files.opened_current(root, open_interests_version)


def open_interests_version(folder: Path) -> InterestTable:
    """Map one version, the current one or an older one that is still there, and verify it to the byte.

    Raises ``BrokenTableError``.
    """
    header = files.sealed_header(folder, InterestsHeader)
    if header.format != FORMAT:
        raise BrokenTableError(f"{folder / files.HEADER} is of format {header.format}, not {FORMAT}; {AGAIN}")
    try:
        columns = {name: files.map_column(folder / name, dtype) for name, dtype in DTYPES.items()}
        files.verify_columns(folder, columns, {name: header.checksums[name] for name in DTYPES}, AGAIN)
    except BrokenTableError:
        raise
    except (OSError, KeyError, ValueError) as exc:
        raise BrokenTableError(f"the interests {folder} can't be opened ({exc}); {AGAIN}") from exc
    if not _fit(header, columns):
        raise BrokenTableError(f"the columns in {folder} are not of the sizes that its header names; {AGAIN}")
    return InterestTable(folder.name, header, columns)


def _fit(header: InterestsHeader, columns: Mapping[str, Column]) -> bool:
    """Return whether the columns are of the header's sizes, and each user's interests lie within them."""
    starts = columns[STARTS]
    if len(columns[USERS]) != header.users or len(starts) != header.users + 1:
        return False
    if {len(columns[name]) for name in (MEDOIDS, IMPORTANCES, ACTIONS)} != {header.interests}:
        return False
    return bool(starts[0] == 0 and starts[-1] == header.interests and (np.diff(starts) >= 0).all())


def _columns(users: Sequence[Id], interests: Sequence[UserInterests]) -> dict[str, Column]:
    """Return the files' columns, users sorted by key."""
    keys = id_keys(users)
    order = np.argsort(keys, kind="stable")
    for at in np.flatnonzero(keys[order][1:] == keys[order][:-1]).tolist():
        one, other = users[int(order[at])], users[int(order[at + 1])]
        raise ValueError(f"the users {one!r} and {other!r} have the same key; give each user once")
    sorted_ = [interests[row] for row in order.tolist()] or [NO_INTERESTS]
    counts = [len(interests[row]) for row in order.tolist()]
    return {
        USERS: keys[order],
        STARTS: np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        MEDOIDS: np.concatenate([one.medoids for one in sorted_]).astype(np.uint64),
        IMPORTANCES: np.concatenate([one.importances for one in sorted_]).astype(np.float32),
        ACTIONS: np.concatenate([one.actions for one in sorted_]).astype(np.int32),
    }
