"""ModelInputs: the one contract between training, export, serving and replay.

Names, dtypes, shapes, order and padding are defined here and nowhere else. T is the number of actions known (0 to
``num_actions``), N the number of candidates, and the other letters are those of ``FeatureSizes``.

Order: actions newest first. Padding: serving has none; a training batch pads actions on the right with type 0
and zero vectors. Missing items and users are zero vectors with a mask bit.
"""

from dataclasses import dataclass, fields
from hashlib import blake2b
from math import prod

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PADDING_TYPE = 0
COUNTED_TYPES = 16  # action types with a counter of the user's own, at most: those of the lowest codes

POPULARITY_COLUMN = 0  # of an item's dense features: how often it was acted on, from 0 to 1 (``item_features.py``)

CONTEXT_NAMES = (
    "hour_sin", "hour_cos",  # of the request, UTC
    "weekday_sin", "weekday_cos",
    "log_actions",  # log1p(actions known) / log(100)
    "log_age_hours",  # log1p(hours since the newest known action) / 10; 1 without any
    "user_found",  # mask bit: 1 if the batch user vector exists
    "any_action",  # mask bit: 1 if at least one action is known
)  # fmt: skip


@dataclass(frozen=True)
class FeatureSizes:
    """The widths that a bundle was trained with; written in its manifest."""

    num_actions: int = 100  # newest actions that the encoder sees
    item_dim: int = 32  # I: item vector; 32-d PinSage in TransAct
    user_dim: int = 64  # U: PinnerFormer's user vector; 256 in the paper
    session_dim: int = 64  # S: HierTCN's session vector
    item_features: int = 4  # F: dense features of an item, the mask bit not counted
    match_features: int = 0  # M: columns of ``matches/columns.py``, then of ``attributes/columns.py``; 0 without tables
    surfaces: int = 0  # of the vocabulary, a column each; 0 for a model that does not see a request's surface
    counted_types: int = 0  # K: action types that the user's own counters are of (``counters.py``); 0 for none
    profile_columns: int = 0  # of what users are (``profiles.py``); 0 for a model that was trained without

    @property
    def context(self) -> int:
        """C: width of the request's context."""
        counters = 1 + self.counted_types if self.counted_types else 0
        return len(CONTEXT_NAMES) + self.surfaces + counters + self.profile_columns

    @property
    def candidate_features(self) -> int:
        """G = F + M + 1: an item's dense features, its match features, and its mask bit."""
        return self.item_features + self.match_features + 1


@dataclass(frozen=True)
class ModelInputs:
    """What a ranker sees of one request."""

    # once a request; these are the user graph's inputs
    action_types: Ints  # (T,) codes from 1
    action_items: Floats  # (T, I)
    user_vector: Floats  # (U,)
    session_vector: Floats  # (S,)
    context: (
        Floats  # (C,) CONTEXT_NAMES, 1 in the column of the request's surface, the user's own counters, the profile
    )
    # once a candidate; the candidate graph's
    candidate_items: Floats  # (N, I)
    candidate_features: Floats  # (N, G) the item's features, its matches, what it is, then 1 if the item is known
    # for training's time-window mask, explanations and counts; no graph reads them
    action_ages_ms: Ints  # (T,) now - occurred_at
    action_found: Bools  # (T,) is the item of the action in the table?

    @property
    def num_candidates(self) -> int:
        """N."""
        return len(self.candidate_items)

    def digest(self) -> str:
        """Hash every byte, names and shapes included: equal digests mean equal inputs."""
        digest = blake2b(digest_size=16)
        for spec in fields(self):
            array = np.ascontiguousarray(getattr(self, spec.name))
            digest.update(f"{spec.name}{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


USER_INPUTS = ("action_types", "action_items", "user_vector", "session_vector", "context")
CANDIDATE_INPUTS = ("candidate_items", "candidate_features")


def check_inputs(inputs: ModelInputs, sizes: FeatureSizes) -> None:
    """Raise ``ValueError`` that names the first array whose shape or dtype is not the contract's."""
    actions, candidates = len(inputs.action_types), inputs.num_candidates
    wanted: dict[str, tuple[tuple[int, ...], type]] = {
        "action_types": ((actions,), np.int64),
        "action_items": ((actions, sizes.item_dim), np.float32),
        "user_vector": ((sizes.user_dim,), np.float32),
        "session_vector": ((sizes.session_dim,), np.float32),
        "context": ((sizes.context,), np.float32),
        "candidate_items": ((candidates, sizes.item_dim), np.float32),
        "candidate_features": ((candidates, sizes.candidate_features), np.float32),
        "action_ages_ms": ((actions,), np.int64),
        "action_found": ((actions,), np.bool_),
    }
    if actions > sizes.num_actions:
        raise ValueError(f"{actions} actions given, the model was trained with at most {sizes.num_actions}")
    for name, (shape, dtype) in wanted.items():
        array = getattr(inputs, name)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{name}: got {array.dtype}{array.shape}, wanted {np.dtype(dtype)}{shape}")


def random_inputs(sizes: FeatureSizes, actions: int, candidates: int, num_types: int, seed: int) -> ModelInputs:
    """Draw inputs of the right shapes: golden inputs of a bundle, parity tests, benchmarks."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Floats:
        scale = 1.0 / np.sqrt(shape[-1]) if prod(shape) else 1.0
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    return ModelInputs(
        action_types=rng.integers(1, num_types + 1, actions),
        action_items=normal(actions, sizes.item_dim),
        user_vector=normal(sizes.user_dim),
        session_vector=normal(sizes.session_dim),
        context=normal(sizes.context),
        candidate_items=normal(candidates, sizes.item_dim),
        candidate_features=normal(candidates, sizes.candidate_features),
        action_ages_ms=np.sort(rng.integers(0, 86_400_000, actions)),
        action_found=np.ones(actions, np.bool_),
    )
