"""`rankstream interests`: what a user is interested in, as the batch job found it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from rankstream.bundles.item_tables import ITEMS
from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.table import Table, console, names, numbers
from rankstream.evaluation.time_text import time_text
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, id_key
from rankstream.features.interests.interests import UserInterests
from rankstream.features.interests.table import InterestTable, open_interests
from rankstream.ranking.bundle import BundleRefusedError, bundle_folder
from rankstream.streams.settings import Settings


@dataclass(frozen=True)
class ShownInterest:
    """One interest as it is shown."""

    item_id: Id | None  # that stands for it; None for one that the items do not hold any more
    importance: float  # as of the table's time
    share: float  # of the user's importances
    actions: int  # that it is made of


@click.command()
@click.argument("user")
@settings_options(also=("bundle", "interests", "item_vectors"))
@json_option
def command(user: str, settings: Settings, as_json: bool) -> None:
    """Show a user's interests.

    Each is an item that stands for a cluster of what the user liked, the most important first, as of the newest version
    that `rankstream embed --interests-to` published. What the user did since is not in it; workers add it.

    \b
    Reads:  the folder of --interests; the items of --bundle, or those of
            --item-vectors, which know what came after the training

    \b
    Example:
      rankstream interests 7 --interests run/interests --bundle run/bundle
    """
    if settings.interests is None:
        raise Refusal(
            "no interests are named; give the folder that `rankstream embed --interests-to` wrote: --interests"
        )
    with refusing(BrokenTableError, BundleRefusedError):
        table = open_interests(settings.interests)
        items = EmbeddingTable.open(settings.item_vectors or bundle_folder(settings.bundle) / ITEMS)
        found = _of(user, table, items, settings.interests)
    shown = _shown(found, items)
    if as_json:
        told = {"user_id": user, "version": table.version, "as_of_ms": table.as_of_ms}
        print_json(told | {"interests": [asdict(one) for one in shown]})
        return
    console().print(interests_table(user, shown, table.as_of_ms))


def interests_table(user: str, shown: Sequence[ShownInterest], as_of_ms: int) -> Table:
    """Return a user's interests as a table, the most important first."""
    columns = [*numbers("interest"), *names("because of"), *numbers("importance", "share", "actions")]
    rows = [
        (
            str(at),
            "unknown" if one.item_id is None else str(one.item_id),
            f"{one.importance:.2f}",
            f"{one.share:.0%}",
            f"{one.actions:,}",
        )
        for at, one in enumerate(shown, start=1)
    ]
    return Table(columns, rows, title=f"interests of user {user} as of {time_text(as_of_ms)}")


def _of(user: str, table: InterestTable, items: EmbeddingTable, root: Path) -> UserInterests:
    """Return a user's interests. Raises ``BrokenTableError`` for those of other items, ``Refusal`` for no such user."""
    if table.space != items.space:
        raise BrokenTableError(
            f"the interests in {root} were found among the items {table.space!r}, but those to name them by are "
            f"{items.space!r}; name the bundle of the same training with --bundle, or its --item-vectors"
        )
    found = table.of(id_key(user))
    if found is None:
        raise Refusal(
            f"user {user} has no interests in {root} as of {time_text(table.as_of_ms)}: nothing liked until then that "
            f"has a vector; {len(table):,} users have some"
        )
    return found


def _shown(interests: UserInterests, items: EmbeddingTable) -> list[ShownInterest]:
    rows, known = items.rows(interests.medoids)
    ids = [item if held else None for item, held in zip(items.ids(rows), known.tolist(), strict=True)]
    total = max(float(interests.importances.sum()), 1e-12)
    counts = zip(ids, interests.importances.tolist(), interests.actions.tolist(), strict=True)
    return [ShownInterest(item, importance, importance / total, actions) for item, importance, actions in counts]
