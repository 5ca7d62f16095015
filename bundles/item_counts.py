"""What counting a bundle's items anew takes, as its manifest says it: facts of the parts that hold counts.

A bundle that was exported before these facts were written opens and serves as ever; only its item counts stay those of
its training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rankstream.bundles.item_tables import ITEM_FEATURES
from rankstream.bundles.manifest import Manifest
from rankstream.bundles.matches import MATCHES
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.join import DAY_MS

NAMES, ACTIONS, RATES, LISTS, MATCHED = "names", "counted_actions", "rates", "lists", "matched"
EVERY, NEWCOMERS = "counted_every_ms", "newcomers"


@dataclass(frozen=True)
class CountsRecipe:
    """How a bundle's item counts are made of a log, and what they must be like to be served with it."""

    space: str  # of the bundle's item vectors
    feature_names: tuple[str, ...]
    matched: tuple[str, ...]  # actions that make two items of a session go together
    match_features: int  # that the ranker makes of the matches
    actions: int  # that the bundle's own are counted from
    rates: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of what was shown; the actions that count
    lists: bool = False  # did the log say what was shown, list by list?
    every_ms: int = DAY_MS  # how old counts were at the most when the ranker was trained; replay counts as often
    newcomers: bool = False  # are items counted, too, that have no vector yet?


class NotCountableError(ValueError):
    """A bundle whose item counts can't be made anew, or counts that are not for it; one sentence."""


def feature_facts(recipe: CountsRecipe | None) -> Mapping[str, Any]:
    """Return the facts of the part ``item_features``."""
    if recipe is None:
        return {}
    facts = {NAMES: recipe.feature_names, ACTIONS: recipe.actions, RATES: recipe.rates, LISTS: recipe.lists}
    return {**facts, EVERY: recipe.every_ms, NEWCOMERS: recipe.newcomers}


def match_facts(recipe: CountsRecipe | None) -> Mapping[str, Any]:
    """Return the facts of the part ``matches``."""
    return {} if recipe is None else {MATCHED: recipe.matched}


def counts_recipe_of(manifest: Manifest) -> CountsRecipe:
    """Return how the bundle's item counts are made. Raises ``NotCountableError`` where the manifest does not say."""
    facts = {part.kind: part.facts for part in manifest.parts}
    features, matches = facts.get(ITEM_FEATURES, {}), facts.get(MATCHES)
    if NAMES not in features or (matches is not None and MATCHED not in matches):
        raise NotCountableError(
            f"the bundle of model {manifest.model_version} does not say how its item counts were made, so they stay "
            "those of its training; train it again with this version of rankstream"
        )
    return CountsRecipe(
        space=manifest.item_space,
        feature_names=tuple(features[NAMES]),
        matched=tuple((matches or {}).get(MATCHED, ())),
        match_features=manifest.sizes.match_features,
        actions=features[ACTIONS],
        rates={name: tuple(actions) for name, actions in features[RATES].items()},
        lists=features[LISTS],
        every_ms=features.get(EVERY, DAY_MS),
        newcomers=features.get(NEWCOMERS, False),
    )


def check_made_for(counts: ItemCounts, manifest: Manifest, where: str) -> None:
    """Raise ``NotCountableError`` if these are not the counts of the bundle's items and widths; ``where`` they lie."""
    made_of = (counts.space, counts.item_features.dim, counts.match_features)
    wanted = (manifest.item_space, manifest.sizes.item_features, manifest.sizes.match_features)
    if made_of != wanted:
        raise NotCountableError(
            f"the item counts {where} are of the item space {made_of[0]!r}, with {made_of[1]} features and "
            f"{made_of[2]} match features, but model {manifest.model_version} wants {wanted[0]!r}, {wanted[1]} and "
            f"{wanted[2]}; publish those of the model that is served"
        )
    names = next((tuple(part.facts.get(NAMES, ())) for part in manifest.parts if part.kind == ITEM_FEATURES), ())
    if names and counts.feature_names != names:
        raise NotCountableError(
            f"the item counts {where} have the features {', '.join(counts.feature_names)}, but model "
            f"{manifest.model_version} wants {', '.join(names)}; publish those of the model that is served"
        )
