"""A ranker whose heads start from the item's own rates: a skip connection for what an MLP learns slowest.

A rate is how often the item was clicked, liked, ... when shown, as log-odds less those over all items
(``exposure_rates.py``): already the logit of a head that knows nothing
else. A head with few labels, likes, does not learn that by itself::

    logit of a head = strength of the head (learned, from 1) x the item's rate + what the hybrid makes of everything
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rankstream.experiments.kuairand.baselines import RATES
from rankstream.models.ranker.hybrid import HybridRanker, RankerBatch, RankerConfig, SequenceEncoder
from rankstream.models.ranker.transact import TransActConfig

QUIET = 0.1  # scale of the last layer's initial weights: at first the rates dominate


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
