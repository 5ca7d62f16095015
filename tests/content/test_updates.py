from pathlib import Path

import pytest

from rankstream.content.catalogue import Catalogue
from rankstream.content.items import Item
from rankstream.content.updates import PendingChanges, current_catalogue, last_read_of, positions_of, replace_items
from rankstream.events.action_event import Record, Rejected
from rankstream.features.embeddings.files import BrokenTableError
from tests.builders.catalogue import NOW_MS, a_catalogue, an_item, an_update


def followed(root: Path, *records: Record) -> Catalogue:
    """What a process that starts now makes of the records behind its positions."""
    base = current_catalogue(root)
    pending = PendingChanges(base.currency, positions_of(base), last_read=last_read_of(base))
    for record in records:
        if record.offset >= positions_of(base).get(record.partition, 0):
            pending.take(record, NOW_MS)
    return pending.publish(base, root, "topic-1", keep=9)


def items_of(catalogue: Catalogue) -> list[Item]:
    return catalogue.items(range(len(catalogue)))


def test_a_version_holds_its_items_and_where_to_read_on(tmp_path: Path) -> None:
    first = followed(tmp_path, an_update(an_item(1, title="A"), 4), an_update(an_item(2), 9, partition=1))
    assert items_of(first) == [an_item(1, title="A"), an_item(2)]
    assert positions_of(first) == {0: 5, 1: 10}
    assert (first.as_of_ms, first.header.source) == (NOW_MS, "topic-1")
    assert {number: (last.offset, last.newest_from) for number, last in last_read_of(first).items()} == {
        0: (4, 4),
        1: (9, 9),
    }
    second = followed(tmp_path, an_update(an_item(1, title="B"), 5), an_update(2, 10, partition=1))
    assert items_of(second) == [an_item(1, title="B")]
    assert {number: (last.offset, last.newest_from) for number, last in last_read_of(second).items()} == {
        0: (5, 4),
        1: (10, 9),
    }


@pytest.mark.parametrize("killed_after", range(6))
def test_however_often_it_is_killed_the_items_are_those_of_all_records(tmp_path: Path, killed_after: int) -> None:
    log = [an_update(an_item(n % 4, title=str(n)), n) for n in range(5)] + [an_update(2, 5)]
    followed(tmp_path / "killed", *log[:killed_after])
    base = current_catalogue(tmp_path / "killed")
    PendingChanges(None, positions_of(base)).take(log[-1], NOW_MS)  # read, and killed before it was published
    whole = followed(tmp_path / "undisturbed", *log)
    resumed = followed(tmp_path / "killed", *log)
    assert items_of(resumed) == items_of(whole)
    assert positions_of(resumed) == positions_of(whole) == {0: 6}


def test_a_file_imported_meanwhile_takes_the_place_of_all_that_was_known(tmp_path: Path) -> None:
    base = followed(tmp_path, an_update(an_item(1), 0))
    pending = PendingChanges(base.currency, positions_of(base))
    pending.take(an_update(an_item(3), 1), NOW_MS)
    replace_items(tmp_path, a_catalogue(an_item(2)), keep=9)
    whole = pending.publish(base, tmp_path, "topic-1", keep=9)
    assert items_of(whole) == [an_item(2), an_item(3)]
    assert last_read_of(whole)[0].offset == 1
    assert positions_of(whole) == {0: 2}


def test_an_import_over_a_broken_version_mends_it(tmp_path: Path) -> None:
    broken = followed(tmp_path, an_update(an_item(1), 0))
    (tmp_path / broken.version / "items.utf8").write_bytes(b"")
    replace_items(tmp_path, a_catalogue(an_item(2)), keep=9)
    assert items_of(Catalogue.open(tmp_path)) == [an_item(2)]


def test_a_price_in_another_currency_is_rejected_and_the_record_counts_as_read(tmp_path: Path) -> None:
    pending = PendingChanges(None, {})
    pending.take(an_update(an_item(1, price=1.0, currency="EUR"), 0), NOW_MS)
    with pytest.raises(Rejected, match="2 costs USD, but the catalogue is in EUR") as why:
        pending.take(an_update(an_item(2, price=1.0, currency="USD"), 1), NOW_MS)
    assert (why.value.reason, pending.positions) == ("currency", {0: 2})
    pending.take(an_update(an_item(3, price=3.0), 2), NOW_MS)  # no currency: the catalogue's
    published = pending.publish(current_catalogue(tmp_path), tmp_path, None, keep=9)
    assert (published.ids([0, 1]), published.currency) == ([1, 3], "EUR")


def test_a_catalogue_of_another_currency_imported_meanwhile_is_refused(tmp_path: Path) -> None:
    pending = PendingChanges(None, {})
    pending.take(an_update(an_item(1, price=1.0, currency="EUR"), 0), NOW_MS)
    replace_items(tmp_path, a_catalogue(an_item(2, price=1.0), currency="USD"), keep=9)
    with pytest.raises(BrokenTableError, match="a catalogue in USD was imported"):
        pending.publish(current_catalogue(tmp_path), tmp_path, None, keep=9)
