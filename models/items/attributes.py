"""Attributes of items for the ranker, from a catalogue: which facets there are, and on what scale (``features``).

Only what an item is counts here, and how often its labels are acted on. A label that one item has alone says no more
than the item does, and is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from rankstream.content.catalogue import Catalogue
from rankstream.events.log import EventLog
from rankstream.features.attributes.table import NOT_KNOWN, AttributeNames, Codes, Doubles, ItemAttributes
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.ids import Keys, id_keys
from rankstream.features.schema import Floats, Ints

MAX_LEVELS = 4  # of a category's path that are facets, the widest first: below, few items share a label
MAX_COLLECTIONS = 6  # of an item: those that hold the most items


@dataclass(frozen=True)
class Facet:
    """Labels of all items by one facet."""

    name: str
    codes: Codes  # (n, w) -1 where there is none; an item's labels stand first
    keys: Keys  # (labels,) 64 bits that name each label in any version of the catalogue


def item_attributes(catalogue: Catalogue, log: EventLog, without: Sequence[str] = ()) -> ItemAttributes:
    """Return the attributes of a catalogue's items; actions of the log named in ``without`` (a hide) don't count."""
    facets = [shared for one in _facets(catalogue) if (shared := _shared(one)) is not None]
    labels, facet_of = _with_one_code(facets, len(catalogue))
    usual, dated = _usual_price(catalogue), bool((catalogue.created_ms != NOT_KNOWN).any())
    price = _scaled(catalogue.prices, usual)
    return ItemAttributes(
        AttributeNames(tuple(one.name for one in facets), ("price",) if len(usual) else (), dated),
        keys=np.array(catalogue.keys),
        labels=labels,
        facet_of=facet_of,
        shares=_shares(catalogue, labels, facet_of, log, without),
        numbers=np.concatenate([price, np.full((1, price.shape[1]), np.nan, np.float32)]),
        created_ms=np.append(catalogue.created_ms, NOT_KNOWN),
        label_keys=np.concatenate([np.zeros(0, np.uint64), *(one.keys for one in facets)]),
        usual_numbers=usual,
    )


def attributes_of_new(catalogue: Catalogue, trained: ItemAttributes) -> ItemAttributes:
    """Return the attributes of the catalogue's items that a training did not know, by its labels and on its scale.

    Labels that the training lacks are left out. Raises ``ValueError`` for attributes that do not say what their labels
    are.
    """
    if not trained.can_grow:
        raise ValueError("the training did not keep what its labels are; train again with this version")
    new = trained.rows(catalogue.keys) == len(trained)
    by_name = {one.name: one for one in _facets(catalogue)}
    rows = [_codes_as_trained(by_name[name], trained, at) for at, name in enumerate(trained.names.facets)]
    labels = np.concatenate([np.zeros((0, len(catalogue)), np.int32), *rows])[:, new]
    price = _scaled(catalogue.prices[new], trained.usual_numbers)
    created_ms = catalogue.created_ms[new] if trained.names.dated else np.full(int(new.sum()), NOT_KNOWN, np.int64)
    return replace(
        trained,
        keys=np.array(catalogue.keys[new]),
        labels=np.concatenate([labels, trained.labels[:, -1:]], axis=1),
        numbers=np.concatenate([price, trained.numbers[-1:]]),
        created_ms=np.append(created_ms, NOT_KNOWN),
    )


def _codes_as_trained(facet: Facet, trained: ItemAttributes, at: int) -> Codes:
    """Return a facet's labels by the codes of the training's facet ``at``, as many rows as it has, ``(w, n)``."""
    own = np.flatnonzero(trained.facet_of_label == at)
    code_of = dict(zip(trained.label_keys[own].tolist(), own.tolist(), strict=True))
    codes = np.array([*(code_of.get(key, trained.no_label) for key in facet.keys.tolist()), trained.no_label], np.int32)
    start, stop = trained.facet_spans[at]
    found = codes[facet.codes]  # -1: the last one
    first = np.argsort(found == trained.no_label, axis=1, kind="stable")
    ordered = np.take_along_axis(found, first, axis=1)[:, : stop - start]
    rows = np.full((stop - start, len(found)), trained.no_label, np.int32)
    rows[: ordered.shape[1]] = ordered.T
    return rows


def _facets(catalogue: Catalogue) -> Iterator[Facet]:
    levels = catalogue.categories
    paths = np.array([xxh3_64_intdigest(msgspec.json.encode(path)) for path in catalogue.paths], np.uint64)
    for level in range(MAX_LEVELS):
        codes = levels[:, level : level + 1] if level < levels.shape[1] else np.full((len(catalogue), 1), NOT_KNOWN)
        yield Facet(f"category, level {level + 1}", codes.astype(np.int32), paths)
    yield Facet("group", catalogue.groups[:, None], catalogue.columns.group_keys)
    yield _collections(catalogue)


def _collections(catalogue: Catalogue) -> Facet:
    """Return the collections of each item, ``(n, w)``, those of most items first."""
    held = [id_keys(item.collections) for item in catalogue.items(range(len(catalogue)))]
    sizes = np.array([len(one) for one in held], np.int64)
    names, codes, counts = np.unique(
        np.concatenate([np.zeros(0, np.uint64), *held]), return_inverse=True, return_counts=True
    )
    items = np.repeat(np.arange(len(held)), sizes)
    order = np.lexsort((codes, -counts[codes], items)) if len(names) else np.zeros(0, np.int64)
    within = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = within < MAX_COLLECTIONS
    found = np.full((len(held), int(min(sizes.max(initial=0), MAX_COLLECTIONS))), NOT_KNOWN, np.int32)
    found[items[order][kept], within[kept]] = codes[order][kept]
    return Facet("collections", found, names)


def _shared(facet: Facet) -> Facet | None:
    """Return the facet with the labels alone that several items have, as codes from 0; None if it tells none apart."""
    used, which, counts = np.unique(facet.codes, return_inverse=True, return_counts=True)
    kept = (counts > 1) & (used != NOT_KNOWN)
    if np.count_nonzero(kept) < 2:
        return None
    codes = np.where(kept, np.cumsum(kept) - 1, NOT_KNOWN).astype(np.int32)[which].reshape(facet.codes.shape)
    first = np.argsort(codes == NOT_KNOWN, axis=1, kind="stable")
    return Facet(facet.name, np.take_along_axis(codes, first, axis=1), facet.keys[used[kept]])


def _with_one_code(facets: Sequence[Facet], items: int) -> tuple[Codes, Ints]:
    """Return the labels ``(W, items + 1)`` by codes of all facets, and the facet of each row."""
    counts = [int(one.codes.max()) + 1 for one in facets]
    none, rows = sum(counts), [np.zeros((0, items), np.int32)]
    for facet, before in zip(facets, np.cumsum([0, *counts]).tolist(), strict=False):
        rows.append(np.where(facet.codes == NOT_KNOWN, none, facet.codes + before).astype(np.int32).T)
    labels = np.concatenate(rows)
    unknown = np.full((len(labels), 1), none, np.int32)
    facet_of = np.repeat(np.arange(len(facets)), [one.codes.shape[1] for one in facets])
    return np.concatenate([labels, unknown], axis=1), facet_of


def _shares(catalogue: Catalogue, labels: Codes, facet_of: Ints, log: EventLog, without: Sequence[str]) -> Floats:
    """Return how often each label is acted on, of the actions on items with its facet; smoothed, none is 0."""
    if not len(labels):
        return np.zeros(0, np.float32)
    acted_on = log.item_keys[~np.isin(log.actions, log.codes_of(without))]
    rows, found = KeySearch(catalogue.keys).find(acted_on)
    times, none = np.bincount(rows[found], minlength=len(catalogue)), int(labels[0, -1])
    items = labels[:, :-1]  # (W, items)
    counts = np.bincount(items.ravel(), np.tile(times, len(items)), none + 1)[:-1]
    facets = np.zeros(none + 1, np.int64)
    facets[labels] = facet_of[:, None]
    of_label = facets[:-1]
    acted = [times @ (items[facet_of == one] != none).any(axis=0) for one in range(int(facet_of.max()) + 1)]
    shares: Floats = ((counts + 1.0) / (np.array(acted) + np.bincount(of_label))[of_label]).astype(np.float32)
    return shares


def _usual_price(catalogue: Catalogue) -> Doubles:
    """Return the price that is 0 on the ranker's scale, ``(1,)``; ``(0,)`` where prices tell none apart."""
    prices = catalogue.prices
    known = prices[~np.isnan(prices)]
    if not len(known) or known.min() == known.max():
        return np.zeros(0)
    return np.array([float(np.median(known)) or float(known.mean())])


def _scaled(prices: Doubles, usual: Doubles) -> Floats:
    """Return the logarithm of each price, 0 at the usual one, ``(n, 1)``; ``(n, 0)`` where there is none."""
    scaled: Floats = (np.log1p(prices[:, None] / usual) - np.log(2.0)).astype(np.float32)
    return scaled
