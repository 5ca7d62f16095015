"""Item counts for tests: any that fit the tiny bundle, and a bundle whose ranker reads nothing but what follows."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from rankstream.bundles.attributes import export_attributes
from rankstream.bundles.golden import write_golden
from rankstream.bundles.item_counts import CountsRecipe, feature_facts, match_facts
from rankstream.bundles.item_tables import ITEM_FEATURES, ITEMS, table_part
from rankstream.bundles.manifest import Manifest, write_manifest
from rankstream.bundles.matches import MATCHES, matches_part
from rankstream.bundles.profiles import export_profiles
from rankstream.bundles.ranker import golden_inputs, ranker_case, ranker_part
from rankstream.events.log import EventLog, event_log
from rankstream.features.attributes.columns import attribute_width, column_names
from rankstream.features.attributes.table import ItemAttributes
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.embeddings.table import publish, table_of
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.item_counts.files import publish_counts
from rankstream.features.matches.columns import MATCH_NAMES, match_width
from rankstream.features.matches.tables import match_arrays, write_matches
from rankstream.features.profiles import UserProfiles
from rankstream.features.schema import FeatureSizes
from rankstream.models.items.item_counts import counted
from rankstream.models.items.matches import match_tables
from tests.builders.bundle import (
    AS_OF_MS,
    HEADS,
    ITEM_SPACE,
    OPSET,
    USER_SPACE,
    UTILITY,
    VOCABULARY,
    draw_weights,
    tiny_ranker,
    vectors_of,
    write_ranker,
)
from tests.builders.models import a_log
from tests.builders.replay import Row

NAMES = ("first", "second")
MATCHED = ("view", "click", "save")


def some_counts(seed: int, as_of_ms: int = AS_OF_MS, space: str = ITEM_SPACE, width: int = 2) -> ItemCounts:
    """Counts that fit the tiny bundle; another seed, other features and other items that go together."""
    rng = np.random.default_rng(seed)
    rows = [(user, int(item), "view", step) for user in range(30) for step, item in enumerate(rng.integers(1, 200, 8))]
    features = table_of(range(1, 201), vectors_of(200, width, seed), space=space, as_of_ms=as_of_ms)
    return ItemCounts(features, NAMES[:width], match_tables(a_log(rows), ["view"]), match_features=0)


def publish_some(root: Path, seed: int, as_of_ms: int = AS_OF_MS, space: str = ITEM_SPACE, width: int = 2) -> str:
    """Publish ``some_counts``; return the version's name."""
    return publish_counts(root, some_counts(seed, as_of_ms, space, width), keep=100).name


def the_same(one: ItemCounts, other: ItemCounts) -> bool:
    """Are they of the same bytes?"""
    tables = [(counts.item_features.keys, counts.item_features.vectors) for counts in (one, other)]
    arrays = [match_arrays(counts.matches) for counts in (one, other)]
    pairs = [*zip(*tables, strict=True), *((arrays[0][name], arrays[1][name]) for name in arrays[0])]
    alike = all(mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes() for mine, theirs in pairs)
    return alike and (one.space, one.as_of_ms, one.feature_names) == (other.space, other.as_of_ms, other.feature_names)


def log_of(rows: list[Row]) -> EventLog:
    """The rows of a recorded log as columns."""
    users, items, actions, times = zip(*rows, strict=True) if rows else ((), (), (), ())
    codes = [VOCABULARY.action_codes[action] for action in actions]
    return event_log(VOCABULARY, list(users), list(items), np.array(codes, np.int64), np.array(times, np.int64))


def a_recipe(items: int = 40) -> CountsRecipe:
    """How the counts of ``a_following_bundle`` are made."""
    names = counted(log_of([]), ItemTable(np.arange(1, items + 1), np.zeros((items, 0))), MATCHED).feature_names
    return CountsRecipe(ITEM_SPACE, names, MATCHED, match_width(len(VOCABULARY.actions)), actions=0)


def a_following_bundle(
    folder: Path,
    rows: list[Row],
    items: int = 40,
    says_how: bool = True,
    attributes: ItemAttributes | None = None,
    by: Mapping[str, float] | None = None,
    profiles: UserProfiles | None = None,
) -> Path:
    """Write a bundle of items 1 to ``items`` that ranks by what followed the user's newest item in these rows.

    With ``attributes`` it sees them too, and ranks by those of their columns that ``by`` weighs. With ``profiles``
    users of their first label have the higher scores.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe, ids = a_recipe(items), range(1, items + 1)
    found = counted(log_of(rows), ItemTable(np.array(ids), np.zeros((items, 0))), MATCHED)
    sizes = FeatureSizes(
        num_actions=20, item_dim=8, user_dim=8, session_dim=4, item_features=len(recipe.feature_names),
        match_features=recipe.match_features + (attribute_width(attributes.names) if attributes else 0),
        profile_columns=profiles.width if profiles else 0,
    )  # fmt: skip
    weights = {name: np.zeros_like(array) for name, array in draw_weights(0, sizes.context).items()}
    weights["by_feature"] = np.zeros((sizes.item_features + sizes.match_features + 1, len(HEADS)), np.float32)
    weights["by_feature"][sizes.item_features + MATCH_NAMES.index("next_share"), HEADS.index("save")] = 4.0
    for name, weight in (by or {}).items():
        column = sizes.item_features + recipe.match_features + column_names(attributes.names).index(name)
        weights["by_feature"][column, HEADS.index("save")] = weight
    if profiles:
        weights["by_context"][-profiles.width, HEADS.index("save")] = 1.0
    publish(folder / ITEMS, ids, vectors_of(items, 8, 1), space=ITEM_SPACE, as_of_ms=AS_OF_MS)
    publish(folder / ITEM_FEATURES, ids, found.features, space="item-features", as_of_ms=AS_OF_MS)
    write_matches(folder / MATCHES, found.matches)
    write_ranker(folder, weights)
    write_golden(
        folder / "golden.npz",
        {"ranker": [ranker_case(case, tiny_ranker(weights, case)) for case in golden_inputs(sizes, 4)]},
    )
    told = CountsRecipe(ITEM_SPACE, recipe.feature_names, MATCHED, recipe.match_features, len(rows))
    parts = [
        table_part(ITEMS, 8),
        table_part(ITEM_FEATURES, sizes.item_features, feature_facts(told if says_how else None)),
        matches_part(sizes.match_features, match_facts(told if says_how else None)),
        ranker_part(sizes),
    ]
    described = [] if attributes is None else [export_attributes(attributes)]
    described += [] if profiles is None else [export_profiles(profiles)]
    for one in described:
        one.write(folder)
        parts.append(one.part)
    write_manifest(
        folder,
        Manifest(
            model_version="following", created_at="2026-01-01T00:00:00Z", vocabulary=VOCABULARY, heads=HEADS,
            utility=UTILITY, sizes=sizes, item_space=ITEM_SPACE, user_space=USER_SPACE, trained_until_ms=AS_OF_MS,
            metrics={}, parts=tuple(parts), opset=OPSET, versions={"onnx": onnx.__version__}, files={},
        ),
    )  # fmt: skip
    return folder
