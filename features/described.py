"""Items known by what they are alone: nobody had acted on them when a version of the item vectors was published.

Their vectors come from what the catalogue says of them (``models/items/described.py``), and so do their attributes,
which the training could not know. Both lie in the version itself, so a request sees them together or not at all::

    000008-.../
        keys.u64  vectors.f16 ...               of all items, these too
        described.u64                           the keys of these items
        described.f32                           the counts to expect of them: those of items like them
        new-keys.u64  new-labels.i32  ...       attributes of these, and of others that came after the training
        header.json                             its meta names the labels that the attributes are of
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from rankstream.features.attributes.table import ItemAttributes, labels_tag
from rankstream.features.embeddings.files import BrokenTableError, Column
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Keys
from rankstream.features.schema import Floats

DESCRIBED, EXPECTED = "described.u64", "described.f32"
NEW_KEYS, NEW_LABELS, NEW_NUMBERS, NEW_CREATED = "new-keys.u64", "new-labels.i32", "new-numbers.f32", "new-created.i64"
LABELS = "labels"  # meta: the tag of the labels that the attributes are of


@dataclass(frozen=True)
class DescribedItems:
    """What a version says of items that came after the training."""

    keys: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))  # (m,) sorted: placed by what they are alone
    features: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (m, F) item features to expect
    columns: Mapping[str, Column] = field(default_factory=dict)  # attributes of new items; none: nothing is known
    labels: str | None = None  # the tag of their labels

    @classmethod
    def of(
        cls, keys: Keys, attributes: ItemAttributes | None = None, features: Floats | None = None
    ) -> "DescribedItems":
        """Return items with these keys, the ``features`` to expect of them, and the ``attributes`` of new ones."""
        order = np.argsort(keys)
        expected = np.zeros((len(keys), 0), np.float32) if features is None else features[order]
        if attributes is None or not len(attributes):
            return cls(keys[order], expected)
        columns: dict[str, Column] = {
            NEW_KEYS: attributes.keys,
            NEW_LABELS: attributes.labels[:, :-1].ravel(),
            NEW_NUMBERS: attributes.numbers[:-1].ravel(),
            NEW_CREATED: attributes.created_ms[:-1],
        }
        return cls(keys[order], expected, columns, labels_tag(attributes))

    @classmethod
    def in_table(cls, table: EmbeddingTable) -> "DescribedItems":
        """Return what a version of item vectors holds; nothing for one that was published without a catalogue.

        Raises ``BrokenTableError`` for described items without a vector, or with features that do not fit.
        """
        names = (NEW_KEYS, NEW_LABELS, NEW_NUMBERS, NEW_CREATED)
        columns = {name: table.columns[name] for name in names if name in table.columns}
        keys = table.columns.get(DESCRIBED, np.zeros(0, np.uint64))
        expected = table.columns.get(EXPECTED, np.zeros(0, np.float32))
        width = expected.size // max(1, len(keys))
        if not table.rows(keys)[1].all() or expected.size != width * len(keys):
            raise BrokenTableError(f"{DESCRIBED} and {EXPECTED} do not fit the vectors; publish the table again")
        features = expected.reshape(len(keys), width)
        return cls(keys, features, columns, table.header.meta.get(LABELS))

    @cached_property
    def beside(self) -> dict[str, Column]:
        """Return the columns to publish beside the vectors; none where there is nothing to say."""
        columns = dict(self.columns)
        if len(self.keys):
            columns |= {DESCRIBED: self.keys, EXPECTED: self.features.ravel()}
        return columns

    @property
    def meta(self) -> dict[str, Any]:
        """Return what the version's header says of them."""
        return {} if self.labels is None else {LABELS: self.labels}

    def feature(self, name: str, names: Sequence[str]) -> Floats:
        """Return one of the features to expect ``(m,)``, by the ``names`` of all; zeros where it is not among them."""
        if name in names and len(names) == self.features.shape[1]:
            return self.features[:, list(names).index(name)]
        return np.zeros(len(self.keys), np.float32)

    def only(self, keys: Keys) -> "DescribedItems":
        """Return these without the items that are not among ``keys``; attributes stay."""
        kept = np.isin(self.keys, keys)
        return DescribedItems(self.keys[kept], self.features[kept], self.columns, self.labels)

    def known_to(self, trained: ItemAttributes) -> ItemAttributes:
        """Return a training's attributes with those of new items added. Raises ``BrokenTableError`` for another's."""
        if not self.columns:
            return trained
        if self.labels != labels_tag(trained):
            raise BrokenTableError(
                "they say what new items are by the labels of another training; publish those of the model that is "
                "served, by `rankstream embed --items`"
            )
        try:
            return trained.with_items(self._attributes(trained))
        except (KeyError, ValueError) as exc:
            raise BrokenTableError(f"what they say of new items can't be read ({exc}); publish them again") from exc

    def _attributes(self, trained: ItemAttributes) -> ItemAttributes:
        keys = self.columns[NEW_KEYS]
        labels = self.columns[NEW_LABELS].reshape(len(trained.labels), len(keys))
        if len(labels) and labels.size and not (labels.min() >= 0 and labels.max() <= trained.no_label):
            raise ValueError(f"labels must be from 0 to {trained.no_label}")
        numbers = self.columns[NEW_NUMBERS].reshape(len(keys), trained.numbers.shape[1])
        return ItemAttributes(
            trained.names,
            keys=keys,
            labels=np.concatenate([labels, trained.labels[:, -1:]], axis=1),
            facet_of=trained.facet_of,
            shares=trained.shares,
            numbers=np.concatenate([numbers, trained.numbers[-1:]]),
            created_ms=np.append(self.columns[NEW_CREATED].reshape(len(keys)), trained.created_ms[-1:]),
            label_keys=trained.label_keys,
            usual_numbers=trained.usual_numbers,
        )
