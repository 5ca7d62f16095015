"""Names that files of version 0.1.0 spell otherwise, and what they are called since; nothing writes the old ones.

Weights name their model's class, checkpoints the fields of ``FitConfig``, run folders those of recipes and of
``RunMetadata``. Whatever reads one of these asks here, so that a training that 0.1.0 began is resumed and its weights
are loaded.
"""

from collections.abc import Mapping
from typing import Any

MODELS = {"Ranker": "HybridRanker"}

FIELDS = {
    "draws": "accumulation_steps",  # FitConfig
    "least": "min_actions",  # ItemVectorConfig
    "most_scored": "max_scored",  # EncoderRecipe
    "most_held_out": "max_held_out",  # PinnerFormerTraining, HierTCNTraining
    "most_cases": "max_queries",  # HierTCNTraining
    "least_temperature": "min_temperature",  # PinnerFormerTraining
    "avoid_seen": "exclude_seen",  # NegativesConfig
    "visits": "impressions",  # RankerRecipe, RunMetadata
}

ADDED = {  # field of 0.1.0 -> later ones beside it, with the values that stand for what was done before
    "warm_up": {"epochs": None},  # FitConfig
    "learn_temperature": {"pool": None},  # HierTCNTraining
}
REMOVED = ("drawn",)  # EncoderRecipe: items sampled for each next item, of catalogues of over 10,000

NAMED_BY_LOGS = ("heads", "utility", "rates")  # their keys are actions and heads of a log, which may be called anything


def model_name(saved: str) -> str:
    """Return today's name of a model's class."""
    return MODELS.get(saved, saved)


def current_fields(saved: Any) -> Any:
    """Return a config that was saved as JSON, or a part of one, with today's names of its fields at any depth."""
    if isinstance(saved, Mapping):
        added = {name: value for beside, later in ADDED.items() if beside in saved for name, value in later.items()}
        return added | {
            FIELDS.get(name, name): value if name in NAMED_BY_LOGS else current_fields(value)
            for name, value in saved.items()
            if name not in REMOVED
        }
    return [current_fields(part) for part in saved] if isinstance(saved, list) else saved
