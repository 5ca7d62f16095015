"""Columns of candidates by what they are: does the user act on items like this one, at this price, of this age.

For each facet (a level of the category, the group, collections) the columns of ``FACET_NAMES``, for each number those
of ``NUMBER_NAMES``, then those of ``AGE_NAMES``. An item that has several labels of a facet has their mean. The history
is the user's, as of the request; what is known of items is frozen with the model. No column of a candidate depends on
the other candidates, and all are 0 for an item that the attributes do not know.
"""

import numpy as np

from rankstream.features.attributes.table import NOT_KNOWN, AttributeNames, Codes, ItemAttributes
from rankstream.features.ids import Keys
from rankstream.features.schema import Floats, Ints
from rankstream.features.user_view import UserView

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DECAY = 0.8  # of an action's weight, for each newer one
PRIOR_ACTIONS = 5.0  # without the label, added to the user's
NEAR_ITEMS = 5  # newest known items whose median a number is compared with
RECENCY = DECAY ** np.arange(256)  # a history holds fewer

FACET_NAMES = (
    "known",  # mask bit: 1 if the item has a label of this facet
    "recent",  # share of the user's actions with the facet that had this label, newer ones weighing more
    "affinity",  # log1p(the label's share of the user's actions over its share of all users')
    "freshness",  # 1 / (1 + log1p(hours since the newest action with the label))
)
NUMBER_NAMES = (
    "known",  # mask bit
    "value",
    "above",  # less the median of the newest known items', 0 where there are none
    "apart",  # the same without its sign
)
AGE_NAMES = (
    "known",  # mask bit
    "age",  # log1p(days since the item came into being) / 10
    "apart",  # log1p(days between it and the median of the newest known items) / 10
)


def column_names(names: AttributeNames) -> tuple[str, ...]:
    """Return what each column is, in words."""
    found = [f"{facet}: {name}" for facet in names.facets for name in FACET_NAMES]
    found += [f"{number}: {name}" for number in names.numbers for name in NUMBER_NAMES]
    return (*found, *(f"age: {name}" for name in AGE_NAMES if names.dated))


def attribute_width(names: AttributeNames) -> int:
    """Return how many columns there are."""
    facets, numbers = len(FACET_NAMES) * len(names.facets), len(NUMBER_NAMES) * len(names.numbers)
    return facets + numbers + len(AGE_NAMES) * names.dated


def attribute_columns(user: UserView, candidates: Keys, attributes: ItemAttributes) -> Floats:
    """Return the columns of candidates ``(N,)``, ``(N, attribute_width)``."""
    names = attributes.names
    if not (names.facets or names.numbers or names.dated):
        return np.zeros((len(candidates), 0), np.float32)
    rows = attributes.rows(np.concatenate([candidates, user.actions.item_keys]))
    rows, own = rows[: len(candidates)], rows[len(candidates) :]
    parts = []
    if names.facets:
        labels = attributes.labels.take(rows, axis=1), attributes.labels.take(own, axis=1)
        parts.append(_facet_columns(user, attributes, *labels))
    if names.numbers:
        parts.append(_number_columns(attributes.numbers[rows], attributes.numbers[own]))
    if names.dated:
        parts.append(age_columns(user.now_ms, attributes.created_ms[rows], attributes.created_ms[own]))
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _facet_columns(user: UserView, attributes: ItemAttributes, labels: Codes, own: Codes) -> Floats:
    """Return ``FACET_NAMES`` of each facet, ``(N, 4 F)``, of labels ``(W, N)``, and the history's ``(W, T)``."""
    used, stats = _of_labels(user, attributes, own)
    row_of = np.ones(attributes.no_label + 1, np.int32)
    row_of[used], row_of[-1] = np.arange(2, len(stats)), 0
    found = stats.take(row_of.take(labels), axis=0)  # (W, N, 4)
    return np.concatenate([_mean(found[start:stop]) for start, stop in attributes.facet_spans], axis=1)


def _mean(found: Floats) -> Floats:
    """Return the mean of an item's labels of one facet, ``(N, 4)`` of ``(w, N, 4)``, of those that there are."""
    summed: Floats = found[0] if len(found) == 1 else found.sum(axis=0)
    if len(found) > 1:
        summed /= np.maximum(summed[:, :1], np.float32(1.0))
    return summed


def _of_labels(user: UserView, attributes: ItemAttributes, own: Codes) -> tuple[Codes, Floats]:
    """Return the labels of the history, ``(n,)``, and ``FACET_NAMES`` of each, ``(2 + n, 4)``.

    Two rows stand before them: that of no label, and that of a label that the history lacks.
    """
    own = own.T  # (T, W)
    has = own != attributes.no_label
    place, _ = np.nonzero(has)  # newest first
    used, newest, which = np.unique(own[has], return_index=True, return_inverse=True)
    facets, weights = attributes.facet_of_label[used], RECENCY[: len(own)]
    with_facet = has[:, [start for start, _ in attributes.facet_spans]]  # a facet's first column holds the first label
    count, (acted, facet) = len(attributes.facet_spans), np.nonzero(with_facet)
    weighed, acts = np.bincount(facet, weights[acted], count), np.bincount(facet, minlength=count)
    recent = np.bincount(which, weights[place]) / weighed[facets]
    usual = (acts + PRIOR_ACTIONS)[facets] * attributes.shares[used]
    ages_ms = user.now_ms - user.actions.times_ms[place[newest]]
    stats = np.zeros((len(used) + 2, len(FACET_NAMES)), np.float32)
    stats[1:, 0] = 1.0
    stats[2:, 1] = recent
    stats[2:, 2] = np.log1p(np.bincount(which) / usual)
    stats[2:, 3] = 1.0 / (1.0 + np.log1p(ages_ms / HOUR_MS))
    return used, stats


def _number_columns(values: Floats, own: Floats) -> Floats:
    """Return ``NUMBER_NAMES`` of each number, ``(N, 4 P)``, of values ``(N, P)``; ``own`` ``(T, P)``."""
    known = ~np.isnan(values)
    usual = np.array([_median(own[:, at]) for at in range(own.shape[1])], np.float32)
    above = values - usual
    columns = np.stack([known, values, above, np.abs(above)], axis=2).astype(np.float32)
    np.nan_to_num(columns, copy=False)
    return columns.reshape(len(values), -1)


def _median(own: Floats) -> float:
    """Return the median of the newest known numbers; NaN where there are none."""
    newest = own[~np.isnan(own)][:NEAR_ITEMS]
    return float(np.sort(newest)[len(newest) // 2]) if len(newest) else np.nan


def age_columns(now_ms: int, created_ms: Ints, own_ms: Ints) -> Floats:
    """Return ``AGE_NAMES``, ``(N, 3)``."""
    known = created_ms != NOT_KNOWN
    newest = np.sort(own_ms[own_ms != NOT_KNOWN][:NEAR_ITEMS])
    columns = np.zeros((len(created_ms), len(AGE_NAMES)), np.float32)
    columns[:, 0] = known
    columns[:, 1] = np.log1p(np.maximum(now_ms - created_ms, 0) / DAY_MS) / 10 * known
    if len(newest):
        columns[:, 2] = np.log1p(np.abs(created_ms - newest[len(newest) // 2]) / DAY_MS) / 10 * known
    return columns
