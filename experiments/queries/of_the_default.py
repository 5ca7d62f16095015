"""The queries of the default training, as scores of all items: who asks by them finds what is first here.

They stand in for the ranker in the product's own replay, so each sees what a request would: the state, the versions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rankstream.features.schema import Floats, ModelInputs
from rankstream.models.recipes.run_folder import load_models
from rankstream.models.users.pinnerformer import PinnerFormer
from rankstream.ranking.backends.base import Backend
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.sources.recent_likes import NEWEST_POSITIVE

NEWEST, MEAN, SESSION, USER = "newest item", "mean of the newest 20", "HierTCN's session", "PinnerFormer's user"


@dataclass(frozen=True)
class Newest:
    """The mean of a user's newest items that have a vector: the direction of their sum."""

    count: int

    def score(self, inputs: ModelInputs) -> Floats:
        """Return the inner products with the unit mean, ``(N, 1)``; zeros for who has none."""
        items = inputs.action_items[inputs.action_found][: self.count]
        return _scores(inputs.candidate_items, items.sum(axis=0, keepdims=True, dtype=np.float32))


class Session:
    """HierTCN's vector of the open session and those before it."""

    def score(self, inputs: ModelInputs) -> Floats:
        """Return the inner products with it, ``(N, 1)``."""
        return _scores(inputs.candidate_items, inputs.session_vector[None])


@dataclass(frozen=True)
class UserTower:
    """PinnerFormer's vector of the last batch, and its item tower."""

    model: PinnerFormer

    @torch.no_grad()
    def score(self, inputs: ModelInputs) -> Floats:
        """Return the cosines of both towers, ``(N, 1)``."""
        items: Floats = self.model.encode_items(torch.from_numpy(inputs.candidate_items)).numpy()
        return _scores(items, inputs.user_vector[None])


def queries_of(run: Path) -> Mapping[str, Backend]:
    """Return the queries of a training's folder, by name; the first is what the others are held against."""
    model = load_models(run / "work").pinnerformer.eval()
    return {MEAN: Newest(NEWEST_POSITIVE), NEWEST: Newest(1), SESSION: Session(), USER: UserTower(model)}


def _scores(items: Floats, query: Floats) -> Floats:
    scores: Floats = (items @ unit(query).T).astype(np.float32)
    return scores
