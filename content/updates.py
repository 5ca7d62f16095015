"""Records of item-updates collected until they are published, and published with the position that they end at.

::

    records -> PendingChanges.take -> the last one of each item -> publish -> a version: items + positions, in one step

Whoever is killed reads on at the positions of the current version, so its items are those of the records before them,
each applied once; nothing but the version says where that is.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from rankstream.content.catalogue import Catalogue
from rankstream.content.files import LastRead, write_columns
from rankstream.content.items import CURRENCY, Item, ItemUpdate, decode_update
from rankstream.events.action_event import Record, Rejected, checksum_of, epoch_of, produced_ms
from rankstream.features.embeddings import files
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.files import CURRENT

T = TypeVar("T")


def current_catalogue(root: Path) -> Catalogue:
    """Open the current version, or an empty catalogue where nothing was published. Raises ``BrokenTableError``."""
    return Catalogue.open(root) if (root / CURRENT).exists() else Catalogue.empty()


@dataclass
class PendingChanges:
    """What came since the last version: of each item the last record, and where to read on."""

    currency: str | None  # of the catalogue; the first price that names one decides where there is none
    positions: dict[int, int]  # partition -> offset to read on at
    changes: dict[int, Item | None] = field(default_factory=dict)
    as_of_ms: int = 0
    last_read: dict[int, LastRead] = field(default_factory=dict)  # by partition

    def take(self, record: Record, now_ms: int) -> None:
        """Take the next record of its partition. Raises ``Rejected``, and the record counts as read all the same."""
        self.positions[record.partition] = record.offset + 1
        self.last_read[record.partition] = _after(record, self.last_read.get(record.partition))
        update = decode_update(record, now_ms)
        self._check_currency(update)
        self.changes[update.key] = update.item
        self.as_of_ms = max(self.as_of_ms, produced_ms(record, now_ms) or 0)

    def _check_currency(self, update: ItemUpdate) -> None:
        item = update.item
        if item is None or item.price is None or item.currency is None:
            return
        if self.currency is None:
            self.currency = item.currency
        if item.currency != self.currency:
            raise Rejected(CURRENCY, f"{item.id!r} costs {item.currency}, but the catalogue is in {self.currency}")

    def publish(self, base: Catalogue, root: Path, source: str | None, keep: int) -> Catalogue:
        """Publish the current version with these changes, and forget them; return it.

        ``base`` is the version that was current when it was looked at last: where a file was imported meanwhile, the
        changes go on top of that. Raises ``BrokenTableError``.
        """
        with files.publishing(root):
            if base.version != _current_name(root):
                base = current_catalogue(root)
            self._refuse_another_currency(base, root)
            whole = base.changed(self.changes, self.as_of_ms)
            header = msgspec.structs.replace(
                whole.header,
                currency=self.currency,
                positions=_named(self.positions),
                last_read=_named(last_read_of(base) | self.last_read),
                source=source,
            )
            folder = write_columns(root, header, whole.columns, keep)
        self.changes = {}
        return Catalogue.open_version(folder)

    def _refuse_another_currency(self, base: Catalogue, root: Path) -> None:
        if base.currency is not None and self.currency not in (None, base.currency):
            raise BrokenTableError(
                f"a catalogue in {base.currency} was imported into {root}, while item-updates are in {self.currency}: "
                "import one with --currency, then follow again"
            )
        self.currency = self.currency or base.currency


def positions_of(catalogue: Catalogue) -> dict[int, int]:
    """Return where to read on in item-updates, by partition; partitions that are not named are read from the start."""
    return {int(number): offset for number, offset in catalogue.header.positions.items()}


def last_read_of(catalogue: Catalogue) -> dict[int, LastRead]:
    """Return the last records of item-updates that were read, by partition."""
    return {int(number): last for number, last in catalogue.header.last_read.items()}


def _after(record: Record, before: LastRead | None) -> LastRead:
    """Return what was read of a partition, with its next record."""
    newest_ms, newest_from = record.timestamp, record.offset
    if before is not None:
        newest_ms, newest_from = max(newest_ms, before.newest_ms), before.newest_from
    return LastRead(record.offset, checksum_of(record), epoch_of(record), newest_ms, newest_from)


def _named(by_partition: Mapping[int, T]) -> dict[str, T]:
    return {str(number): by_partition[number] for number in sorted(by_partition)}


def _current_name(root: Path) -> str:
    return files.current_version(root) if (root / CURRENT).exists() else ""


def replace_items(root: Path, catalogue: Catalogue, keep: int) -> Path:
    """Publish a catalogue in place of all that was known: item-updates up to now are in the past, and not read again.

    Return the version's folder. Where the current version can't be read, its positions are lost with it.
    """
    with files.publishing(root):
        header = catalogue.header
        with suppress(BrokenTableError):
            current = current_catalogue(root).header
            header = msgspec.structs.replace(
                header, positions=current.positions, last_read=current.last_read, source=current.source
            )
        return write_columns(root, header, catalogue.columns, keep)
