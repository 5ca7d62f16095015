"""What `train`, `export` and `embed` share: reading a log and making a recipe of flags. Imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cli.errors import Refusal
from features.actions import Vocabulary
from models.bundle_recipe import MOVIELENS, BundleRecipe
from models.datasets.base import EventLog
from models.datasets.events import read_events
from models.datasets.movielens import read_movielens


def read_log(path: Path) -> EventLog:
    """Read a log of the wire's columns, or MovieLens as RecBole writes it (.inter)."""
    return read_movielens(path) if path.suffix == ".inter" else read_events(path)


def recipe_of(
    vocabulary: Vocabulary, positives: Sequence[str], negatives: Sequence[str], utility: Mapping[str, float]
) -> BundleRecipe:
    """Give the recipe: a head an action, the demo's sizes. Raises ``Refusal`` for actions that the log lacks."""
    known = vocabulary.actions
    for name in (*positives, *negatives, *utility):
        if name not in known:
            raise Refusal(f"the log has no action {name}; it has {', '.join(known)}")
    if not positives:
        raise Refusal(f"say what users come for with --positive; the log has the actions {', '.join(known)}")
    chosen = utility or dict.fromkeys(positives, 1.0) | dict.fromkeys(negatives, -1.0)
    weights = dict.fromkeys(known, 0.0) | dict(chosen)
    encoders = replace(MOVIELENS.encoders, positives=tuple(positives), negatives=tuple(negatives))
    heads = {name: (name,) for name in known}
    return BundleRecipe(encoders, replace(MOVIELENS.ranker, heads=heads, utility=weights))
