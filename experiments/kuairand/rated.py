"""A ranker whose heads start from the item's own rates: what a network of two layers learns slowest, given.

A rate is how often the item was clicked, liked, ... when shown, as log-odds less everybody's (``exposure_rates.py``):
already the logit of a head that knows nothing else. A head of few labels, likes, does not find that out by itself::

    logit of a head = strength of the head (learned, from 1) x the item's rate + what the hybrid makes of everything
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rankstream.experiments.kuairand.baselines import RATES
from rankstream.models.ranker.hybrid import HybridRanker, RankerBatch, RankerConfig, SequenceEncoder
from rankstream.models.ranker.transact import TransActConfig

QUIET = 0.1  # of the usual first weights of the last layer: at first the rates speak


class RatedRanker(HybridRanker):
    """The hybrid beside the rates; for comparison, no bundle serves it."""

    def __init__(self, config: RankerConfig, encoder: Callable[[TransActConfig], SequenceEncoder]) -> None:
        super().__init__(config, encoder)
        self.columns = [RATES[head] for head in config.heads]
        self.strength = nn.Parameter(torch.ones(len(config.heads)))
        with torch.no_grad():
            self.output.weight *= QUIET

    def forward(self, batch: RankerBatch) -> Tensor:
        """Return logits (B, heads)."""
        return super().forward(batch) + self.strength * batch.candidate_features[:, self.columns]
