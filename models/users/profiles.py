"""Profiles of users for the ranker, from a file of them: which facets there are, and by which labels (``features``).

::

    sex   F M M F ...             as many labels as there are values      F, M
    city  Oslo Rome Oslo ...      the most common ones, and an other      Oslo, Rome, ..., other
    born  1984 1990 1971 ...      ranges with as many users each          up to 1968, up to 1979, ..., above 1998

A value that one user has alone says no more than who he is, and is an other. A column is left out that tells no two
users apart, or most of whose users are others: names, addresses, free text.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankstream.content.user_files import ReadUsers, Value
from rankstream.features.ids import Keys
from rankstream.features.profiles import MAX_LABELS, Codes, Facet, UserProfiles

RANGES = 8  # of a number
MIN_COVERED = 0.5  # share of a column's users whose value has a label of its own
MAX_FACETS = 32  # columns of a file, the first ones: each label is a column of every request's context
OTHER = "other"


@dataclass(frozen=True)
class MadeProfiles:
    """What a file of users makes, and which of its columns make nothing, with the reason."""

    profiles: UserProfiles
    left_out: Mapping[str, str]


def user_profiles(read: ReadUsers) -> MadeProfiles:
    """Return the profiles of all users of a file."""
    keys = np.array(sorted(read.users), np.uint64)
    facets: list[Facet] = []
    codes: list[Codes] = []
    left_out: dict[str, str] = {}
    for name, values in read.values.items():
        if len(facets) == MAX_FACETS:
            left_out[name] = f"{MAX_FACETS} columns before it are learned from, which is the most"
            continue
        made = _labelled(values)
        if isinstance(made, str):
            left_out[name] = made
            continue
        facets.append(Facet(name, made.labels))
        codes.append(_column(keys, made.code_of))
    stacked = np.stack(codes, axis=1) if codes else np.zeros((len(keys) + 1, 0), np.uint8)
    return MadeProfiles(UserProfiles(tuple(facets), keys, stacked), left_out)


@dataclass(frozen=True)
class _Labelled:
    labels: tuple[str, ...]
    code_of: Mapping[int, int]  # key of a user -> code from 1


def _labelled(values: Mapping[int, Value]) -> _Labelled | str:
    """Return a column's labels and each user's, or why it has none."""
    numbers = _numbers(values)
    if numbers is not None and len(np.unique(numbers)) > MAX_LABELS:
        return _ranges(list(values), numbers)
    texts = {key: f"{value:g}" if isinstance(value, float) else value for key, value in values.items()}
    common = sorted(Counter(texts.values()).items(), key=lambda pair: (-pair[1], pair[0]))
    kept = [label for label, count in common if count > 1][:MAX_LABELS]
    if len(kept) == MAX_LABELS and len(common) > MAX_LABELS:
        kept.pop()  # its code is the others'
    covered = sum(count for label, count in common if label in kept) / max(1, len(texts))
    if covered < MIN_COVERED:
        return f"its {len(kept)} most common values are those of {covered:.0%} of the users alone"
    labels = (*kept, OTHER) if len(common) > len(kept) else tuple(kept)
    if len(labels) < 2:
        return "it has one value, so it tells no users apart"
    code_of = {label: code for code, label in enumerate(kept, start=1)}
    return _Labelled(labels, {key: code_of.get(text, len(labels)) for key, text in texts.items()})


def _ranges(keys: list[int], numbers: npt.NDArray[np.float64]) -> _Labelled:
    """Return ranges that hold about as many users each; equal numbers stand in one."""
    cuts = np.unique(np.quantile(numbers, np.arange(1, RANGES) / RANGES, method="lower"))
    cuts = cuts[cuts < numbers.max()]
    codes = 1 + np.searchsorted(cuts, numbers)
    labels = (*(f"up to {cut:g}" for cut in cuts.tolist()), f"above {cuts[-1]:g}")
    return _Labelled(labels, dict(zip(keys, codes.tolist(), strict=True)))


def _numbers(values: Mapping[int, Value]) -> npt.NDArray[np.float64] | None:
    """Return a column as numbers; None where one of its values is none."""
    try:
        numbers = np.array([float(value) for value in values.values()], np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _column(keys: Keys, code_of: Mapping[int, int]) -> Codes:
    """Return the code of each user, 0 where it is not known, and of any other user."""
    found = np.zeros(len(keys) + 1, np.uint8)
    found[:-1] = [code_of.get(key, 0) for key in keys.tolist()]
    return found
