"""Training of the ranker, and its validation: how each positive ranks among the negatives of its request."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan, log2
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from rankstream.events.arrivals import LogError
from rankstream.features.join import columns_of_attributes, columns_of_known, columns_of_profiles
from rankstream.features.schema import Floats, Ints, ModelInputs
from rankstream.metrics.probabilities import auc
from rankstream.models.ranker.calibration import held_out
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.hybrid import HybridRanker, RankerBatch, RankerConfig
from rankstream.models.ranker.joined import JoinedRequests
from rankstream.models.ranker.places import PlacedRanker
from rankstream.models.training.loop import Evaluate, FitConfig, FitHistory, fit
from rankstream.models.training.losses import request_softmax_loss, weighted_multi_head_loss
from rankstream.models.training.schedule import Examples
from rankstream.models.training.time_limit import NO_LIMIT, TimeLimit

LENGTH_GROUPS = 16  # of requests, by the length of their histories
HIDDEN_ATTRIBUTES = 0.05  # share of the candidates made items that no catalogue knows: they are to be scored too
HIDDEN_PROFILES = 0.1  # share of the requests made those of users of whom nothing is known: new ones will ask too


@dataclass(frozen=True)
class RankerTraining:
    """How batches are drawn and weighed; the paper's values behind each."""

    requests: int = 32  # of a batch; 12,000 candidates
    label_weights: tuple[tuple[float, ...], ...] | None = None  # M, see weighted_multi_head_loss; all 1 if None
    softmax: float = 0.0  # weight of the softmax among a request's candidates beside the heads' own losses
    hidden_items: float = 0.0  # share of the candidates that are made unknown items: what is new is to have a score too
    mask: bool = True  # random time-window mask over the newest actions (TransActConfig.mask_window_ms)
    fit: FitConfig = field(default_factory=FitConfig)

    def label_matrix(self, heads: int) -> Tensor:
        """Return M (heads, 1 + heads). Raises ``ValueError`` for one of another shape."""
        if self.label_weights is None:
            return torch.ones(heads, 1 + heads)
        matrix = torch.tensor(self.label_weights)
        if matrix.shape != (heads, 1 + heads):
            raise ValueError(
                f"label weights {tuple(matrix.shape)} for {heads} heads; wanted ({heads}, {1 + heads}): "
                "a row a head, a column for no action and one for each head's"
            )
        return matrix


class RequestSource(Protocol):
    """Requests by row: ``joined.JoinedRequests`` in memory, or ``request_cache.RequestCache`` on disk."""

    @property
    def lengths(self) -> Ints:
        """Return how many actions each request's history holds, ``(R,)``."""
        ...

    @property
    def have_weights(self) -> bool:
        """Return whether some requests hold candidates that were drawn beside a list."""
        ...

    def batch(self, rows: Ints) -> RankerBatch:
        """Return these requests as one batch, with labels."""
        ...


@dataclass
class RankerTask:
    """Everything that a step draws from."""

    ranker: HybridRanker | PlacedRanker
    source: RequestSource
    training: RankerTraining
    device: torch.device

    @property
    def config(self) -> RankerConfig:
        """Return the ranker's."""
        return (self.ranker.ranker if isinstance(self.ranker, PlacedRanker) else self.ranker).config

    @cached_property
    def groups(self) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Return the examples in groups of like history length, equally large: little padding."""
        groups = np.array_split(np.argsort(self.source.lengths, kind="stable"), LENGTH_GROUPS)
        return [group for group in groups if len(group)]

    @cached_property
    def label_weights(self) -> Tensor:
        """Return M on the device."""
        return self.training.label_matrix(len(self.config.heads)).to(self.device)

    @cached_property
    def columns_of_known(self) -> Tensor:
        """Return which features of a candidate come from tables."""
        return torch.from_numpy(columns_of_known(self.config.sizes))

    @cached_property
    def columns_of_attributes(self) -> Tensor:
        """Return which features of a candidate say what it is."""
        return torch.from_numpy(columns_of_attributes(self.config.sizes, self.config.transact.num_types))

    @cached_property
    def columns_of_profiles(self) -> Tensor:
        """Return which columns of the context say what the user is."""
        return torch.from_numpy(columns_of_profiles(self.config.sizes))

    def sample_loss(self, rng: np.random.Generator) -> Tensor:
        """Draw requests of one group and return their loss."""
        group = self.groups[rng.integers(len(self.groups))]
        drawn = rng.choice(group, min(self.training.requests, len(group)), replace=False)
        batch = self.source.batch(drawn).to(self.device)
        window_ms = self.config.transact.mask_window_ms
        if self.training.mask and window_ms:
            batch = batch.hide_recent(window_ms, _generator(rng))
        if self.training.hidden_items:
            batch = batch.hide_items(self.training.hidden_items, self.columns_of_known, _generator(rng))
        if self.columns_of_attributes.any():
            batch = batch.hide_attributes(HIDDEN_ATTRIBUTES, self.columns_of_attributes, _generator(rng))
        if self.columns_of_profiles.any():
            batch = batch.hide_profiles(HIDDEN_PROFILES, self.columns_of_profiles, _generator(rng))
        logits = self.ranker(batch)
        loss = weighted_multi_head_loss(logits, batch.labels, self.label_weights, batch.weights)
        if not self.training.softmax:
            return loss
        taken = batch.labels * self._among_drawn(batch)[batch.request_of, None]
        ordered = request_softmax_loss(logits, taken, batch.request_of, batch.num_requests, batch.log_q)
        return loss + self.training.softmax * ordered

    def _among_drawn(self, batch: RankerBatch) -> Tensor:
        """Return 1 for requests that hold drawn candidates, 0 for lists alone, ``(R,)``: they have no catalogue."""
        if not self.source.have_weights:
            return batch.weights.new_ones(batch.num_requests)
        drawn = batch.weights.new_zeros(batch.num_requests)
        return drawn.scatter_reduce(0, batch.request_of, (batch.weights == 0).to(drawn.dtype), "amax")


def _generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(1 << 62)))


def train_ranker(
    config: RankerConfig,
    training: RankerTraining,
    requests: JoinedRequests,
    validation: JoinedRequests,
    *,
    retrieved: JoinedRequests | None = None,
    weights: Sequence[float] | None = None,
    checkpoints: Path | None = None,
    limit: TimeLimit = NO_LIMIT,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> tuple[HybridRanker, FitHistory]:
    """Train on ``requests``; return the ranker that is best on ``validation``.

    Among drawn candidates that is by the served order's NDCG@10, of all items (``served_ndcg``, with the heads'
    ``weights``); among what was shown, by ``mean_auc``, and where some lists are ``retrieved`` among drawn items, by
    the mean of that and ``served_auc`` of these. Raises ``LogError`` where there are no requests.
    """
    if not len(requests):
        raise LogError(
            f"the log has {len(validation)} requests to train the ranker with; wanted two, one to learn from and one "
            "to validate with: give a longer log"
        )
    device = device or torch.device("cpu")
    torch.manual_seed(training.fit.seed)
    ranker = HybridRanker(config).to(device)

    drawn = weights is not None and all(one.log_q is not None for one in validation.requests)

    def quality() -> float:
        if weights is not None and drawn:
            return served_ndcg(ranker, validation, weights)
        shown = mean_auc(ranker, validation)
        if weights is None or retrieved is None or not len(retrieved):
            return shown
        return (shown + served_auc(ranker, retrieved, weights)) / 2

    history = train_on(
        PlacedRanker(ranker) if requests.have_places else ranker,
        requests,
        training,
        evaluate=quality if len(validation) else None,
        metric_name="ndcg@10" if drawn else "auc",
        checkpoints=checkpoints,
        limit=limit,
        progress=progress,
        device=device,
    )
    return ranker, history


def train_on(
    ranker: HybridRanker | PlacedRanker,
    source: RequestSource,
    training: RankerTraining,
    *,
    evaluate: Evaluate | None = None,
    metric_name: str = "ndcg@10",
    checkpoints: Path | None = None,
    limit: TimeLimit = NO_LIMIT,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> FitHistory:
    """Train a ranker, which is on ``device``, in place; it ends with its best weights by ``evaluate``, or its last."""
    task = RankerTask(ranker, source, training, device or torch.device("cpu"))
    return fit(
        ranker,
        task.sample_loss,
        training.fit,
        evaluate=evaluate,
        examples=Examples(len(source.lengths), min(training.requests, max(1, len(source.lengths) // LENGTH_GROUPS))),
        checkpoints=checkpoints,
        limit=limit,
        progress=progress,
        title="Ranker",
        metric_name=metric_name,
    )


@torch.no_grad()
def mean_auc(ranker: HybridRanker, requests: JoinedRequests) -> float:
    """Return the mean of the heads' AUC over all candidates of all requests; heads without one of each are left out.

    Most lists are too short to be ordered: their NDCG moves by hundredths when a single rare action changes its place.
    """
    rows = held_out(ranker, requests)
    found = [auc(rows.logits[:, head], rows.labels[:, head]) for head in range(rows.labels.shape[1])]
    known = [one for one in found if not isnan(one)]
    return sum(known) / max(1, len(known))


def served_auc(ranker: HybridRanker, requests: JoinedRequests, weights: Sequence[float]) -> float:
    """Return the share of the items, as the drawn ones stand for them, that are below a wanted one by the served score.

    As ``served_ndcg``, of whole orders: of the few lists that are asked, hardly one has a wanted item among the first.
    """
    shares = [1.0 - (rank - 1.0) / max(1.0, of) for rank, of in served_ranks(ranker, requests, weights)]
    return sum(shares) / max(1, len(shares))


def served_ndcg(ranker: HybridRanker, requests: JoinedRequests, weights: Sequence[float], k: int = 10) -> float:
    """Return NDCG@k of each wanted item by the served score, ranked among all items as the drawn ones stand for them.

    A negative that was drawn with probability q counts as 1 / q items, so an item's rank is estimated without bias;
    equal scores count half. Wanted is what makes a head of positive weight true.
    """
    return ndcg_of(served_ranks(ranker, requests, weights), k)


def ndcg_of(ranks: Iterable[tuple[float, float]], k: int = 10) -> float:
    """Return the mean NDCG@k of wanted items, each alone, by their ranks and among how many others these are."""
    gains = [1.0 / log2(rank + 1.0) if rank <= k else 0.0 for rank, _ in ranks]
    return sum(gains) / max(1, len(gains))


def served_ranks(
    ranker: HybridRanker, requests: JoinedRequests, weights: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """Yield the rank of each wanted item by the served score, and among how many others, see ``served_ndcg``."""
    split, of_heads = SplitRanker(ranker), np.array(weights, np.float32)
    return ranks_by(lambda inputs: split.probabilities(inputs) @ of_heads, requests, weights)


def ranks_by(
    score: Callable[[ModelInputs], Floats], requests: JoinedRequests, weights: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """Yield the rank of each wanted item by a score ``(N,)``, and among how many others, see ``served_ndcg``."""
    wanted = np.array(weights) > 0
    for row, request in enumerate(requests.requests):
        scores = score(requests.inputs(row))
        positive = (request.labels[:, wanted] > 0).any(axis=1)
        assert request.log_q is not None
        stand_for = np.exp(-request.log_q.astype(np.float64))[~positive]
        others = scores[~positive]
        for mine in scores[positive]:
            rank = 1.0 + stand_for[others > mine].sum() + stand_for[others == mine].sum() / 2
            yield float(rank), float(stand_for.sum())
