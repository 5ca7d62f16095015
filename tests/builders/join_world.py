"""A world in which a join has all that it can have, for the plain one and the compiled one to be compared in."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from rankstream.content.catalogue import Catalogue
from rankstream.content.items import Item
from rankstream.features.attributes.columns import attribute_width
from rankstream.features.embeddings.base import NoVectors, WithRows
from rankstream.features.embeddings.table import table_of
from rankstream.features.ids import id_keys
from rankstream.features.join import OfflineFeatures
from rankstream.features.matches.columns import match_width
from rankstream.features.schema import FeatureSizes
from rankstream.features.user_state import UserState
from rankstream.models.items.attributes import attributes_of_new, item_attributes
from rankstream.models.items.matches import match_tables
from tests.builders.actions import MORNING_MS, VOCABULARY, MixingSessions, a_state, an_action
from tests.builders.catalogue import DAY_MS, a_catalogue, an_item
from tests.builders.models import a_log

ITEMS = 60


def a_shop() -> Catalogue:
    """Items of which some have a category, several collections, a price and an age, and some nothing."""
    rng = np.random.default_rng(3)
    items = [
        an_item(
            f"{item}",
            category=f"Kind{item % 5}>Sort{item % 11}" if item % 7 else None,
            collections=tuple(f"c{one}" for one in range(item % 4)),
            price=float(rng.integers(1, 90)) if item % 3 else None,
            created_at_ms=MORNING_MS - item * DAY_MS if item % 4 else None,
        )
        for item in range(50)
    ]
    return a_catalogue(*items)


@cache
def everything() -> OfflineFeatures:
    """Tables of all kinds, none of which knows all items; 600 sessions, so that more share an item than are sampled."""
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", int(item), "view", 7 * step + user)
            for user in range(600) for step, item in enumerate(rng.zipf(1.3, 8) % ITEMS)]  # fmt: skip
    log = a_log(sorted(rows, key=lambda row: row[3]))
    attributes = item_attributes(a_shop(), log)
    vectors = rng.standard_normal((55, 4)).astype(np.float32)
    vectors[7] = 0.0
    described = len(attributes.facet_spans) * 4 + 4 + 3
    sizes = FeatureSizes(
        num_actions=20, item_dim=4, user_dim=3, session_dim=4, item_features=2, surfaces=2, counted_types=4,
        match_features=match_width(len(VOCABULARY.actions)) + described,
    )  # fmt: skip
    return OfflineFeatures(
        sizes,
        table_of(list(range(55)), vectors, space="items", as_of_ms=0),
        table_of(list(range(3, 60)), rng.standard_normal((57, 2)), space="features", as_of_ms=0),
        NoVectors(3),
        MixingSessions(dim=4),
        match_tables(log, ["view"]),
        attributes,
    )


def with_a_shop(items: Sequence[Item], new: Sequence[Item]) -> OfflineFeatures:
    """``everything``, but the training knew these items, and the version that serves describes ``new`` ones."""
    offline = everything()
    trained = item_attributes(a_catalogue(*items), a_log([("u", item, "view", item) for item in range(9)]))
    attributes = trained.with_items(attributes_of_new(a_catalogue(*new), trained))
    keys = np.sort(id_keys([one.id for one in new]))
    expected = np.arange(2 * len(keys), dtype=np.float32).reshape(-1, 2) / 3
    width = match_width(len(VOCABULARY.actions)) + attribute_width(attributes.names)
    return replace(
        offline,
        sizes=replace(offline.sizes, match_features=width),
        item_features=WithRows(offline.item_features, keys, expected),
        attributes=attributes,
    )


def a_user(actions: Sequence[tuple[int, str, int]]) -> tuple[UserState, int]:
    """A user whose history holds 40 actions, and who may have sessions that left it; and a time just after."""
    times = np.cumsum([seconds for _, _, seconds in actions]).tolist()
    packed = (an_action(item, at, kind) for (item, kind, _), at in zip(actions, times, strict=True))
    return a_state(*packed, limit=40), MORNING_MS + 1000 * (times[-1] if times else 0) + 4000
