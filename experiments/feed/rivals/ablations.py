"""The default's ranker trained anew without one of its parts: what each part is worth, query by query.

::

    the run's folder -> encoders and tables as of their cut -> the same requests -> a ranker without the part
    a bundle with that ranker, in which what was hidden in training is hidden when it serves -> the same queries

Encoders stay as they are, so a row costs one training of the ranker and one replay. A ranker of another seed differs,
too; by how much, the row says that leaves out nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rankstream.experiments.feed.product import Product
from rankstream.experiments.feed.replayed import variant_of
from rankstream.experiments.feed.rivals.base import Entry, Rival
from rankstream.experiments.feed.rivals.on_top import OnTop, on_top_of
from rankstream.features.matches.columns import MATCH_NAMES, VECTOR_NAMES
from rankstream.features.schema import FeatureSizes, Floats, ModelInputs
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.ranker.joined import JoinedRequest, JoinedRequests
from rankstream.models.recipes.bundle import RankerRecipe
from rankstream.models.recipes.export import export_models
from rankstream.models.recipes.on_top import train_on_requests
from rankstream.models.recipes.ranker_requests import RankerRequests
from rankstream.models.recipes.run_folder import load_models
from rankstream.models.training.loop import FitConfig, FitHistory
from rankstream.ranking.backends.base import Backend
from rankstream.ranking.bundle import open_bundle

HOUR_MS = 3_600_000
OLD_STEPS = 320  # of the ranker before trainings lasted until their validation stalls

Hide = Callable[[ModelInputs, FeatureSizes], ModelInputs]
Change = Callable[[RankerRecipe], RankerRecipe]


@dataclass(frozen=True)
class Ablation:
    """One part that is left out."""

    row: str  # its name in the table
    hide: Hide | None = None  # what the ranker does not see, in training and when it serves
    change: Change = lambda recipe: recipe  # how it is trained otherwise
    cut: bool = True  # are requests after all that vectors, counts and matches were learned from?


def without_matches(inputs: ModelInputs, sizes: FeatureSizes) -> ModelInputs:
    """Hide whether a candidate stands in the user's history, and what goes with that."""
    return _without_columns(inputs, slice(sizes.item_features, -1))


def without_counts(inputs: ModelInputs, sizes: FeatureSizes) -> ModelInputs:
    """Hide how often an item was acted on."""
    return _without_columns(inputs, slice(0, sizes.item_features))


def without_vectors(inputs: ModelInputs, sizes: FeatureSizes) -> ModelInputs:
    """Hide all that is learned as vectors: of items, user and session, and how near these are."""
    near = sizes.item_features + MATCH_NAMES.index(VECTOR_NAMES[0])
    hidden = _without_columns(inputs, slice(near, near + len(VECTOR_NAMES))) if sizes.match_features else inputs
    zeros = {
        name: np.zeros_like(getattr(inputs, name))
        for name in ("action_items", "user_vector", "session_vector", "candidate_items")
    }
    return replace(hidden, **zeros)


def without_actions(inputs: ModelInputs, sizes: FeatureSizes) -> ModelInputs:
    """Hide the sequence that TransAct reads; matches and the session's vector still know the actions."""
    return replace(
        inputs,
        action_types=inputs.action_types[:0],
        action_items=inputs.action_items[:0],
        action_ages_ms=inputs.action_ages_ms[:0],
        action_found=inputs.action_found[:0],
    )


def _without_columns(inputs: ModelInputs, columns: slice) -> ModelInputs:
    features = inputs.candidate_features.copy()
    features[:, columns] = 0.0
    return replace(inputs, candidate_features=features)


def _fit(recipe: RankerRecipe, fit: FitConfig) -> RankerRecipe:
    return replace(recipe, training=replace(recipe.training, fit=fit))


ABLATIONS = {
    "again": Ablation("nothing left out, trained anew"),
    "no-matches": Ablation("without matches", without_matches),
    "no-counts": Ablation("without counts of items", without_counts),
    "no-vectors": Ablation("without all vectors", without_vectors),
    "no-actions": Ablation("without the sequence of actions", without_actions),
    "no-softmax": Ablation(
        "without the softmax with log-Q",
        change=lambda recipe: replace(recipe, training=replace(recipe.training, softmax=0.0)),
    ),
    "no-cut": Ablation("without the cut between tables and requests", cut=False),
    "no-epochs": Ablation(
        f"{OLD_STEPS} steps instead of epochs",
        change=lambda recipe: _fit(recipe, replace(recipe.training.fit, epochs=None, steps=OLD_STEPS)),
    ),
    "hour": Ablation(
        "without the newest hour of actions, in training", change=lambda recipe: replace(recipe, mask_window_ms=HOUR_MS)
    ),
    "no-unknown": Ablation(
        "without unknown items and users in training",
        change=lambda recipe: replace(recipe, strangers=0.0, training=replace(recipe.training, hidden_items=0.0)),
    ),
}


def rank(entry: Entry, ablation: Ablation) -> str:
    """Train the ranker without the part, and rank by a bundle that holds it."""
    run, task = entry.product.folder / "work", entry.task
    product, note = Product(entry.folder / "product"), entry.folder / "note.txt"
    if not product.bundle.exists():
        ranker, history = trained(on_top_of(task, run, cut=ablation.cut), ablation)
        note.write_text(history.summary("the ranker"))
        product.users.parent.mkdir(parents=True, exist_ok=True)
        product.users.symlink_to(entry.product.users.resolve(), target_is_directory=True)
        export_models(replace(load_models(run), ranker=ranker), product.bundle)
    backend = None if ablation.hide is None else Blind.of(product, ablation.hide)
    entry.replay([variant_of(entry.row, product, task.cut_ms, task.log.impressions, backend=backend)])
    return note.read_text()


def trained(under: OnTop, ablation: Ablation) -> tuple[HybridRanker, FitHistory]:
    """Train a ranker as the default's was, but for the part."""
    recipe, config = ablation.change(under.recipe.ranker), under.models.ranker.config
    transact = replace(config.transact, mask_window_ms=recipe.mask_window_ms)
    requests = under.requests(recipe)
    if ablation.hide is not None:
        blind = (BlindRequests(one.items, one.requests, ablation.hide, config.sizes) for one in _all(requests))
        learned, validated, retrieved = blind
        requests = RankerRequests(learned, validated, retrieved)
    return train_on_requests(requests, replace(config, transact=transact, strangers=None), recipe)


def _all(requests: RankerRequests) -> tuple[JoinedRequests, ...]:
    return requests.learned, requests.validated, requests.retrieved


@dataclass(frozen=True)
class BlindRequests(JoinedRequests):
    """Requests of which a part is hidden."""

    hide: Hide
    sizes: FeatureSizes

    def _whole(self, requests: Sequence[JoinedRequest]) -> list[ModelInputs]:
        return [self.hide(inputs, self.sizes) for inputs in super()._whole(requests)]


@dataclass(frozen=True)
class Blind:
    """A bundle's ranker that does not see a part of its inputs; its one score is the bundle's utility."""

    backend: Backend
    hide: Hide
    sizes: FeatureSizes
    weights: Floats  # (heads,)

    @classmethod
    def of(cls, product: Product, hide: Hide) -> "Blind":
        """Open a bundle's."""
        bundle = open_bundle(product.bundle)
        manifest = bundle.manifest
        weights = np.array([manifest.utility[head] for head in manifest.heads], np.float32)
        return cls(bundle.backend, hide, manifest.sizes, weights)

    def score(self, inputs: ModelInputs) -> Floats:
        """Return what the ranker makes of the rest, ``(N, 1)``."""
        return (self.backend.score(self.hide(inputs, self.sizes)) @ self.weights)[:, None]


ROWS = {name: Rival(one.row, partial(rank, ablation=one)) for name, one in ABLATIONS.items()}
