"""The recipe of a bundle: all that is decided before training.

The encoders are trained first and frozen (``encoders.py``), the ranker then on top of them (``on_top.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rankstream.events.log_kind import LogKind
from rankstream.events.public import movielens
from rankstream.features.actions import Vocabulary
from rankstream.models.ranker.examples import (
    NegativesConfig,
)
from rankstream.models.ranker.training import RankerTraining
from rankstream.models.recipes.encoders import MAX_EPOCHS, PATIENCE, EncoderRecipe
from rankstream.models.training.loop import FitConfig


@dataclass(frozen=True)
class RankerRecipe:
    """Sizes and schedule of the ranker for a small log on two cores; ``paper_sizes.py`` has the paper's."""

    heads: Mapping[str, Sequence[str]]  # what is predicted -> the actions any of which makes it true
    utility: Mapping[str, float]  # weight of each head in the score
    num_actions: int = 20  # newest actions seen; 100 in the paper
    action_dim: int = 8  # 32 in the paper
    recent_outputs: int = 4  # K; 10 in the paper
    mask_window_ms: int = 0  # 24 h in the paper, 1 h in its code; in logs of one sitting both mask everything
    cross_rank: int | None = 32  # None, full rank, in the paper
    mlp: tuple[int, ...] = (64, 32)
    layers: int = 1  # of TransAct, 2 in the paper; two take twice as long
    impressions: bool = False  # requests are logged impressions (``ranker/impressions.py``), each its own negatives
    negatives: NegativesConfig = field(default_factory=lambda: NegativesConfig(exclude_seen=True))
    max_requests: int = 16_000  # of the log's, drawn at random
    beside_lists: int = 0  # shown lists, likewise, beside which items that were not shown are drawn
    strangers: float = 0.25  # share of them that is asked once more, as by a user of whom no action is known
    seconds: float | None = 300.0  # of work at most, where no time is given for the whole training; None has no end
    training: RankerTraining = field(
        default_factory=lambda: RankerTraining(
            requests=32,
            softmax=1.0,
            hidden_items=0.05,
            fit=FitConfig(epochs=MAX_EPOCHS, learning_rate=3e-3, patience=PATIENCE),
        )
    )
    seed: int = 0

    @property
    def weights(self) -> list[float]:
        """Return each head's weight in the score."""
        return [self.utility[head] for head in self.heads]


@dataclass(frozen=True)
class BundleRecipe:
    """All that is to be decided before training."""

    encoders: EncoderRecipe
    ranker: RankerRecipe
    # Share of the actions, in time, that encoders and item tables learn from; the ranker's requests come after them, so
    # that vectors and matches know nothing of its labels. The tables are then made anew of all actions, for serving.
    encoders_share: float = 0.85
    threads: int = 1  # of torch; a second one slows models this small: 226 CPU-seconds for what takes 41 with one


def recipe_for(log: LogKind, vocabulary: Vocabulary) -> BundleRecipe:
    """Return the recipe of a kind of log, at the demo's sizes; a head an action where the kind names none."""
    actions = set(vocabulary.actions)
    heads = {head: tuple(name for name in of if name in actions) for head, of in log.heads.items()}
    heads = {head: of for head, of in heads.items() if of} or {name: (name,) for name in vocabulary.actions}
    weights = log.utility or dict.fromkeys(log.positives, 1.0) | dict.fromkeys(log.negatives, -1.0)
    ranker = RankerRecipe(
        heads=heads,
        utility={head: weights.get(head, 0.0) for head in heads},
        mask_window_ms=log.mask_window_ms,
        impressions=log.exposures,
        negatives=NegativesConfig(exclude_seen=not log.repeats),
    )
    encoders = EncoderRecipe(
        tuple(name for name in log.positives if name in actions),
        tuple(name for name in log.negatives if name in actions),
        rates=heads if log.exposures else {},
        exclude_seen=not log.repeats,
        matched=tuple(name for name in vocabulary.actions if _goes_together(name, log)),
    )
    return BundleRecipe(encoders, ranker, log.encoders_share)


def _goes_together(action: str, log: LogKind) -> bool:
    """Return whether items of a session go together by this action; of a log of impressions, only if it is positive."""
    return action in log.positives if log.exposures else action not in log.negatives


MOVIELENS = recipe_for(movielens.KIND, movielens.VOCABULARY)
