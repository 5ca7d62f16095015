"""Published interests for tests: any that fit the tiny bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rankstream.features.ids import Id, id_keys
from rankstream.features.interests.interests import UserInterests
from rankstream.features.interests.table import InterestTable, open_interests, publish_interests
from tests.builders.bundle import AS_OF_MS, ITEM_SPACE

DECAY_PER_DAY = 0.01


def interests(*found: tuple[Id, float]) -> UserInterests:
    """Items that stand for interests, and their importances; each of one action."""
    items, importances = zip(*found, strict=True) if found else ((), ())
    return UserInterests(id_keys(items), np.array(importances, np.float32), np.ones(len(found), np.int64))


def publish_of(
    root: Path,
    found: Mapping[Id, UserInterests],
    as_of_ms: int = AS_OF_MS,
    space: str = ITEM_SPACE,
    keep: int = 100,
) -> str:
    """Publish the interests of users; return the version's name."""
    folder = publish_interests(
        root, list(found), list(found.values()), item_space=space, as_of_ms=as_of_ms,
        decay_per_day=DECAY_PER_DAY, max_merge_distance=1.0, keep=keep,
    )  # fmt: skip
    return folder.name


def a_table(found: Mapping[Id, UserInterests], space: str = ITEM_SPACE) -> InterestTable:
    """A table of the interests of users; what is mapped stays when its folder goes."""
    with TemporaryDirectory() as folder:
        publish_of(Path(folder), found, space=space)
        return open_interests(Path(folder))


def publish_some(root: Path, users: Sequence[Id], seed: int, space: str = ITEM_SPACE) -> str:
    """Publish four random interests a user among the items 1 to 200; another seed, others."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(np.arange(1, 201), 4, replace=False).tolist() for _ in users]
    found = [interests(*zip(items, (4.0, 3.0, 2.0, 1.0), strict=True)) for items in drawn]
    return publish_of(root, dict(zip(users, found, strict=True)), space=space)
