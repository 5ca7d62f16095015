"""Where a candidate stood in the list that was shown: a bias of training alone, so that place does not become taste.

What stands first is looked at more often, and so is acted on more often, whatever it is. A ranker that is not told
takes that for taste in whatever the ranker before it put first, and one trained on its own feeds confirms itself. So in
training a bias of the place stands beside the ranker's logit, and serving has the ranker's alone::

    logit in training = ranker(request, candidate) + bias(head, place)      0 for a place that is not known

That is YouTube's shallow tower (Zhao et al., RecSys 2019, "Recommending What Video to Watch Next", section 4.2) with
nothing but the place as its input. It tells taste from place only as far as lists were not always in the same order:
feeds served with exploration say more.

Where one thing nearly always stood first, the ranker and the biases can both explain its clicks, and who learns more
quickly does. Biases that learn as quickly as the ranker left items that were only promoted 2.5 times the odds of others
(4 without biases, 1 is true), and what was really liked 7.6 times those of others (13.8 without, 3 to 4 is true); at
``QUICKER`` it is 1.4 to 1.6 and 3.4, at ten times 1.0 to 1.2 and 1.6 (``tests/models/ranker/test_places.py``).
"""

import numpy as np
import torch
from torch import Tensor, nn

from rankstream.features.schema import Ints
from rankstream.models.ranker.hybrid import HybridRanker, RankerBatch

ALONE = 10  # the first places have a bias each, farther ones share one: 11 to 20, to 40, to 80, ...
GROUPS = ALONE + 6
QUICKER = 3.0  # than the ranker's parameters biases learn


def places_of(positions: Ints, first: int) -> Ints:
    """Return places from 1 on, 0 where not known, of positions that a log counts from ``first`` on, -1 for none."""
    return np.where(positions < 0, 0, positions - first + 1)


class PlacedRanker(nn.Module):
    """A ranker as it is trained on lists whose order is known; ``ranker`` is what is served."""

    def __init__(self, ranker: HybridRanker) -> None:
        super().__init__()
        self.ranker = ranker
        self.biases = nn.Parameter(torch.zeros(GROUPS, len(ranker.config.heads), device=ranker.output.weight.device))

    def forward(self, batch: RankerBatch) -> Tensor:
        """Return logits (B, heads)."""
        unknown = torch.zeros_like(self.biases[:1])
        of_places = QUICKER * torch.cat([unknown, self.biases])[_group(batch.places)]
        logits: Tensor = self.ranker(batch) + of_places
        return logits


def _group(places: Tensor) -> Tensor:
    """Return the group of each place, 0 of those not known."""
    farther = ALONE + torch.log2(places.clamp(min=1) / ALONE).ceil().long()
    return torch.where(places <= ALONE, places, farther.clamp(max=GROUPS))
