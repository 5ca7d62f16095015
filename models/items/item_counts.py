"""All that is counted of items: one function for training, for the daily job and for replay.

Nothing is learned here, so numpy is all it takes. The items of a bundle are counted, as if there were no others. Where
a ranker learned from lists, what came later is counted, too: it is shown, and ranked by its rates, before it has a
vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.bundles.item_counts import CountsRecipe, NotCountableError
from rankstream.events.log import EventLog
from rankstream.features.embeddings.memory import ItemTable, KeyedItems
from rankstream.features.embeddings.table import table_of, table_of_keys
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.matches.tables import MatchTables, no_matches
from rankstream.features.schema import Floats
from rankstream.models.items.item_features import item_features
from rankstream.models.items.matches import match_tables


@dataclass(frozen=True)
class Counted:
    """What a log says of the items of a table."""

    features: Floats  # (items, F), in the table's order
    feature_names: tuple[str, ...]  # (F,)
    matches: MatchTables


def counted(
    log: EventLog, items: ItemTable, matched: Sequence[str], rates: Mapping[str, Sequence[str]] | None = None
) -> Counted:
    """Count a log, as of its end.

    ``matched`` are the actions that make items of a session go together, ``rates`` those of what was shown.
    """
    features, names = item_features(log, items, rates)
    return Counted(features, names, match_tables(log, matched, items) if matched else no_matches())


def with_newcomers(items: ItemTable, log: EventLog) -> ItemTable:
    """Return these items and, behind them, all others that the log holds acted on or shown, without vectors."""
    shown = np.zeros(0, np.uint64) if log.impressions is None else log.impressions.item_keys
    found = np.unique(np.concatenate([log.item_keys, shown]))
    keys = np.concatenate([items.keys, found[items.rows_of(found) < 0]])
    return KeyedItems(keys, np.zeros((len(keys), 0), np.float32))


def item_counts(log: EventLog, items: ItemTable, recipe: CountsRecipe, as_of_ms: int) -> ItemCounts:
    """Count what happened until ``as_of_ms``, UTC, as it is served: features in float16, items by key.

    Raises ``NotCountableError`` for a recipe with other features than this version counts, and for a log that does not
    say what was shown where the training's did.
    """
    if recipe.rates and recipe.lists != (log.impressions is not None):
        trained, given = ("says", "does not") if recipe.lists else ("does not say", "does")
        raise NotCountableError(
            f"the log of the training {trained} what was shown, list by list, and this one {given}, so its items would "
            "have other rates; read it with the same --shown or --impressions"
        )
    past = log.split_at(as_of_ms + 1)[0]
    items = with_newcomers(items, past) if recipe.newcomers else items
    found = counted(past, items, recipe.matched, recipe.rates)
    if found.feature_names != recipe.feature_names:
        raise NotCountableError(
            f"the model was trained with the item features {', '.join(recipe.feature_names)}, this version of "
            f"rankstream counts {', '.join(found.feature_names)}, so its item counts stay those of its training; train "
            "it again with this version"
        )
    if recipe.newcomers:
        table = table_of_keys(items.keys, found.features, space=recipe.space, as_of_ms=as_of_ms)
    else:
        table = table_of(items.ids.tolist(), found.features, space=recipe.space, as_of_ms=as_of_ms)
    return ItemCounts(table, found.feature_names, found.matches, recipe.match_features)
