"""A plain two-tower of ids alone: an MLP on the mean of a user's items and the newest one, a vector an item.

::

    newest items  a b c  ->  [ mean(a b c), c ]  ->  MLP  ->  context  .  vector of every item

What retrieves at YouTube (Covington et al., RecSys 2016), without the features that public logs do not have. It is
trained as SASRec is here (``feed/rivals/sequences.py``): cross-entropy over all items, beyond 10,000 over sampled ones
with log-Q correction.
"""

import torch
from torch import Tensor, nn

from rankstream.experiments.movielens.next_item import NextItemConfig, NextItemModel


class TwoTower(NextItemModel):
    """Scores of items by a user tower without order, but for the newest item."""

    def __init__(self, config: NextItemConfig) -> None:
        super().__init__(config)
        del self.blocks, self.positions
        hidden = config.hidden
        self.tower = nn.Sequential(nn.Linear(2 * hidden, 4 * hidden), nn.GELU(), nn.Linear(4 * hidden, hidden))

    def forward(self, items: Tensor) -> Tensor:
        """Return a context a position, ``(B, T, H)``, of items ``(B, T)`` int64; padding is item ``config.items``."""
        known = (items < self.config.items).unsqueeze(-1)
        newest = self.dropout(self.items(items) * self.scale) * known
        mean = newest.cumsum(1) / known.cumsum(1).clamp(min=1)
        out: Tensor = self.norm(self.tower(torch.cat([mean, newest], dim=-1)))
        return out
