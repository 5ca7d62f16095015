"""What training makes of the actions of a kind of log by default."""

from collections.abc import Mapping
from dataclasses import dataclass, field

WIRE_FORMAT = "events"  # the kind of a log with the wire's fields; the others are the public logs (``public/``)
REPEATED_OFTEN = 0.05  # share of a log's (user, item, time) from which on users act on the same items again and again


@dataclass(frozen=True)
class LogKind:
    """A kind of log, and what its actions mean to training."""

    name: str  # of --format: a public log's, or ``events``
    positives: tuple[str, ...] = ()  # positive feedback: PinnerFormer's labels
    negatives: tuple[str, ...] = ()  # negative feedback
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # predicted -> any of these actions; {}: each
    utility: Mapping[str, float] = field(default_factory=dict)  # weight of each head in the score
    repeats: bool = False  # do users act on the same items again and again?
    exposures: bool = False  # does the log hold impressions without an action? Then the ranker learns from impressions
    encoders_share: float = 0.85  # of the actions that encoders learn from, see ``BundleRecipe``
    mask_window_ms: int = 0  # of TransAct's random mask; one longer than a user's sitting hides everything
