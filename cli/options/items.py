"""What items are, as a command is given it: a file of items, or the folder of a catalogue."""

from pathlib import Path

from rankstream.cli.errors import Refusal
from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.content.catalogue import Catalogue
from rankstream.content.item_files import ItemOptions, read_items
from rankstream.evaluation.time_text import time_text
from rankstream.events.log import EventLog
from rankstream.features.files import CURRENT
from rankstream.streams.pipeline import wall_clock_ms


def read_catalogue(path: Path, log: EventLog, until_ms: int | None = None, quiet: bool = False) -> Catalogue:
    """Return a catalogue's newest version, or the items of a file; say how many of the log's actions are on them.

    And whether they are as of a time after ``until_ms``, from which on actions are held out.

    Raises ``LogError`` and ``BrokenTableError``, and ``Refusal`` where there are none.
    """
    catalogue = Catalogue.open(path) if (path / CURRENT).exists() else read_items_file(path, quiet)
    known = float(catalogue.look_up(log.item_keys)[1].mean()) if len(log) else 0.0
    if not known:
        example = log.item_ids[0] if len(log) else "none"
        raise Refusal(
            f"none of the log's items is in {path}, so it says nothing of them: the log has the id {example!r}, the "
            f"items have {catalogue.ids([0])[0]!r}; name the column of the ids with `rankstream catalogue import --map "
            "id=COLUMN` and give the catalogue's folder"
        )
    if not quiet:
        print_notes((f"{path}: {len(catalogue):,} items, on which {known:.1%} of the log's actions are",))
        if until_ms is not None and catalogue.as_of_ms > until_ms:
            print_notes((_later(path, catalogue.as_of_ms),))
    return catalogue


def _later(path: Path, as_of_ms: int) -> str:
    return (
        f"{path} says what items are as of {time_text(as_of_ms)}, and actions are held out from --until on: a price "
        "that was changed since may know what they will be (`rankstream catalogue import --as-of` keeps earlier ones)"
    )


def read_items_file(path: Path, quiet: bool = False) -> Catalogue:
    """Return the items of a file; say how its columns were understood. Raises ``LogError``."""
    found = read_items(path, ItemOptions(), wall_clock_ms())
    if not quiet:
        print_notes(found.notes)
        print_skipped(found.skipped)
    return found.catalogue
