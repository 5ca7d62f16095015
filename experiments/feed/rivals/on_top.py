"""What the default training's ranker was trained on: encoders and tables as of their cut, and the requests after it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rankstream.events.log import EventLog
from rankstream.experiments.feed.task import Task
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.join import OfflineFeatures
from rankstream.models.items.item_features import item_features
from rankstream.models.items.matches import match_tables
from rankstream.models.ranker.training_join import offline_features
from rankstream.models.recipes.bundle import BundleRecipe, RankerRecipe, recipe_for
from rankstream.models.recipes.cut import cut_between
from rankstream.models.recipes.ranker_requests import RankerRequests, requests_as_of_their_days
from rankstream.models.recipes.run_folder import TrainedModels, load_models


@dataclass(frozen=True)
class OnTop:
    """The models of a run that are under its ranker, with the recipe by which that was trained."""

    past: EventLog
    models: TrainedModels  # tables as of the cut
    recipe: BundleRecipe
    since_ms: int  # of the requests; 0 where nothing was held back for the ranker
    offline: OfflineFeatures

    def requests(self, chosen: RankerRecipe) -> RankerRequests:
        """Return the requests that the ranker learns from and is validated with, drawn by another recipe."""
        recipe = replace(self.recipe, ranker=chosen)
        return requests_as_of_their_days(self.past, self.models, recipe, self.offline, self.since_ms)


def on_top_of(task: Task, run: Path, *, cut: bool = True) -> OnTop:
    """Open what the ranker of the training in ``run`` stands on.

    Without a ``cut``, tables are of all that was done before the test, and so are the requests: they hold what the
    ranker is to predict.
    """
    models, past = load_models(run), task.past
    about = models.about
    kind = replace(task.kind, positives=about.positives, negatives=about.negatives)
    recipe = recipe_for(kind, about.vocabulary)
    since_ms = cut_between(past, recipe) if cut else None
    if since_ms is not None:
        models = as_of(since_ms, models, past, recipe)
    offline = offline_features(past, models, models.ranker.config.sizes, since_ms or 0)
    return OnTop(past, models, recipe, since_ms or 0, offline)


def as_of(since_ms: int, models: TrainedModels, past: EventLog, recipe: BundleRecipe) -> TrainedModels:
    """Return the encoders with the tables that the ranker was trained on: of what was done before its requests."""
    earlier, _ = past.split_at(since_ms)
    known = np.isin(models.item_table.ids, earlier.items())
    table = ItemTable(models.item_table.ids[known], models.item_table.vectors[known])
    features, _ = item_features(earlier, table, recipe.encoders.rates)
    return replace(models, item_table=table, features=features, matches=match_tables(earlier, recipe.encoders.matched))
