"""The ranker: TransAct beside batch vectors, crossed, one logit a head (KDD'23, section 3.1, "Pinnability").

::

    history x candidate -> TransAct  (K + 1) * D |
    candidate's item vector I, features G        |-> DCN v2 crosses -> MLP -> one logit a head
    user vector U, session vector S, context C   |

Not published, chosen here: the number of crosses and the MLP's widths. Left out: the batch norm of dense features; the
join hands features on in a scale of about 1, and so a score never depends on a batch, in training either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rankstream.features.matches.columns import MATCH_NAMES
from rankstream.features.schema import CONTEXT_NAMES, POPULARITY_COLUMN, FeatureSizes, Floats, Ints, ModelInputs
from rankstream.models.layers import CrossLayer, Mlp
from rankstream.models.ranker.transact import TransAct, TransActConfig, draw_hidden_ms, hide_recent


@dataclass(frozen=True)
class StrangerLogits:
    """What all heads' logits are for users of whom no action is known: a line of what the network says, and counts."""

    slope: float  # of the network's logit
    intercept: float
    popularity: tuple[float, ...]  # of the first item features, which are how often an item was acted on, 0 to 1
    new_users: bool  # whether also for users who have no vector; else for them the network's logits stay


@dataclass(frozen=True)
class RankerConfig:
    """Sizes of the ranker, and what it predicts."""

    transact: TransActConfig
    sizes: FeatureSizes = field(default_factory=FeatureSizes)
    heads: tuple[str, ...] = ("click",)  # what is predicted, one logit each; names, in the order of the logits
    crosses: int = 2
    cross_rank: int | None = 128  # None: full rank, as in the paper; 128 serves short histories 2-3 times as fast
    mlp: tuple[int, ...] = (512, 256)
    dropout: float = 0.0  # in the MLP
    seen_logit: float = 0.0  # added to all heads' logits of what is in the user's history; 0 in training
    strangers: StrangerLogits | None = None  # what is served instead where no action is known; None in training

    def __post_init__(self) -> None:
        if self.transact.item_dim != self.sizes.item_dim:
            raise ValueError(
                f"TransAct is made for item vectors of {self.transact.item_dim}, the features for {self.sizes.item_dim}"
            )
        if not self.heads or len(set(self.heads)) != len(self.heads):
            raise ValueError(f"heads {list(self.heads)}: wanted at least one, each once")
        if self.crosses < 1 or not self.mlp:
            raise ValueError(f"{self.crosses} crosses, MLP {list(self.mlp)}: wanted at least one of each")
        if self.strangers is not None and len(self.strangers.popularity) > self.sizes.item_features:
            raise ValueError(
                f"{len(self.strangers.popularity)} counts are weighed for strangers, items have "
                f"{self.sizes.item_features} features"
            )

    @property
    def candidate_width(self) -> int:
        """Width of the crosses' input that belongs to a candidate."""
        return self.transact.output + self.sizes.item_dim + self.sizes.candidate_features

    @property
    def seen_column(self) -> int | None:
        """The candidate feature that is above 0 for what is in the user's history; None where nothing is added."""
        if not (self.seen_logit and self.sizes.match_features):
            return None
        return self.sizes.item_features + MATCH_NAMES.index("in_history")

    @property
    def user_width(self) -> int:
        """Width of the crosses' input that all candidates of a request share."""
        return self.sizes.user_dim + self.sizes.session_dim + self.sizes.context


@dataclass(frozen=True)
class RankerBatch:
    """R requests, padded to the longest history, and B candidates, each of one of the requests."""

    action_types: Tensor  # (R, T) int64, newest first, 0 on the right; T of at least 1
    action_items: Tensor  # (R, T, I), zeros where padded
    action_ages_ms: Tensor  # (R, T) int64
    user_vectors: Tensor  # (R, U)
    session_vectors: Tensor  # (R, S)
    contexts: Tensor  # (R, C)
    request_of: Tensor  # (B,) int64: row of the candidate's request
    candidate_items: Tensor  # (B, I)
    candidate_features: Tensor  # (B, G)
    labels: Tensor  # (B, heads) 0 or 1
    weights: Tensor  # (B,) the example's weight, w_u in the paper
    log_q: Tensor  # (B,) log of how often each candidate was to be drawn, 0 for what is there for certain
    places: (
        Tensor  # (B,) int64: where each candidate stood in its list, from 1 on, 0 where not known; of training alone
    )

    @property
    def num_requests(self) -> int:
        """R."""
        return len(self.action_types)

    @property
    def num_candidates(self) -> int:
        """B."""
        return len(self.request_of)

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> "RankerBatch":
        """Move to a device, all floating point numbers in ``dtype``."""
        moved = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return RankerBatch(
            **{name: part.to(device, dtype if part.is_floating_point() else None) for name, part in moved.items()}
        )

    def hide_recent(self, window_ms: int, rng: torch.Generator) -> "RankerBatch":
        """Hide each request's newest actions, of a random window of up to ``window_ms``; for training only."""
        hidden_ms = draw_hidden_ms(self.num_requests, window_ms, rng).to(self.action_ages_ms.device)
        types, items, ages = hide_recent(self.action_types, self.action_items, self.action_ages_ms, hidden_ms)
        return replace(self, action_types=types, action_items=items, action_ages_ms=ages)

    def hide_items(self, share: float, columns: Tensor, rng: torch.Generator) -> "RankerBatch":
        """Make a share of the candidates, drawn at random, items that no table knows; for training only.

        ``columns`` ``(G,)`` are those of the features that come from tables: the others, of the user's own history,
        stay.
        """
        hidden = (torch.rand(self.num_candidates, 1, generator=rng) < share).to(self.candidate_items.device)
        known = hidden & columns.to(hidden.device)
        return replace(
            self,
            candidate_items=self.candidate_items.masked_fill(hidden, 0.0),
            candidate_features=self.candidate_features.masked_fill(known, 0.0),
        )

    def hide_attributes(self, share: float, columns: Tensor, rng: torch.Generator) -> "RankerBatch":
        """Make a share of the candidates, drawn at random, items that no catalogue knows; for training only.

        ``columns`` ``(G,)`` are those that say what a candidate is.
        """
        hidden = (torch.rand(self.num_candidates, 1, generator=rng) < share).to(self.candidate_items.device)
        unknown = hidden & columns.to(hidden.device)
        return replace(self, candidate_features=self.candidate_features.masked_fill(unknown, 0.0))

    def hide_profiles(self, share: float, columns: Tensor, rng: torch.Generator) -> "RankerBatch":
        """Make a share of the requests, drawn at random, those of users without a profile; for training only.

        ``columns`` ``(C,)`` are those of the context that say what a user is.
        """
        hidden = (torch.rand(self.num_requests, 1, generator=rng) < share).to(self.contexts.device)
        return replace(self, contexts=self.contexts.masked_fill(hidden & columns.to(hidden.device), 0.0))


def collate(
    requests: Sequence[ModelInputs],
    labels: Sequence[Floats] | None = None,
    weights: Sequence[Floats] | None = None,
    log_q: Sequence[Floats] | None = None,
    places: Sequence[Ints] | None = None,
) -> RankerBatch:
    """Pad the inputs of requests into one batch.

    Of each: ``labels`` (N, heads), ``weights``, ``log_q`` and ``places`` (N,), all 1 and 0 where not given.
    """
    length = max(1, *(len(inputs.action_types) for inputs in requests)) if requests else 1
    counts = [inputs.num_candidates for inputs in requests]
    action_types = np.zeros((len(requests), length), np.int64)
    action_items = np.zeros((len(requests), length, requests[0].action_items.shape[1]), np.float32)
    action_ages_ms = np.zeros((len(requests), length), np.int64)
    for row, inputs in enumerate(requests):
        count = len(inputs.action_types)
        action_types[row, :count] = inputs.action_types
        action_items[row, :count] = inputs.action_items
        action_ages_ms[row, :count] = inputs.action_ages_ms
    return RankerBatch(
        action_types=torch.from_numpy(action_types),
        action_items=torch.from_numpy(action_items),
        action_ages_ms=torch.from_numpy(action_ages_ms),
        user_vectors=_stacked([inputs.user_vector for inputs in requests]),
        session_vectors=_stacked([inputs.session_vector for inputs in requests]),
        contexts=_stacked([inputs.context for inputs in requests]),
        request_of=torch.from_numpy(np.repeat(np.arange(len(requests)), counts)),
        candidate_items=_joined([inputs.candidate_items for inputs in requests]),
        candidate_features=_joined([inputs.candidate_features for inputs in requests]),
        labels=torch.zeros(sum(counts), 0) if labels is None else _joined(labels),
        weights=torch.ones(sum(counts)) if weights is None else _joined(weights),
        log_q=torch.zeros(sum(counts)) if log_q is None else _joined(log_q),
        places=torch.zeros(sum(counts), dtype=torch.int64)
        if places is None
        else torch.from_numpy(np.concatenate(places)),
    )


ANY_ACTION, USER_FOUND = CONTEXT_NAMES.index("any_action"), CONTEXT_NAMES.index("user_found")


def as_served(logits: Tensor, candidate_features: Tensor, contexts: Tensor, config: RankerConfig) -> Tensor:
    """Return the logits (B, heads) moved as the config says, of contexts (B, C) or one context (C,).

    What is not moved is multiplied by 1 and given 0, so it stays as it was to the bit.
    """
    return seen_apart(_as_for_strangers(logits, candidate_features, contexts, config), candidate_features, config)


def _as_for_strangers(logits: Tensor, candidate_features: Tensor, contexts: Tensor, config: RankerConfig) -> Tensor:
    line = config.strangers
    if line is None:
        return logits
    stranger = 1.0 - contexts[..., ANY_ACTION : ANY_ACTION + 1]
    if not line.new_users:
        stranger = stranger * contexts[..., USER_FOUND : USER_FOUND + 1]
    stranger = stranger.clamp(0.0, 1.0)
    columns = range(POPULARITY_COLUMN, POPULARITY_COLUMN + len(line.popularity))
    counted = [weight * candidate_features[:, at : at + 1] for weight, at in zip(line.popularity, columns, strict=True)]
    return logits * (1.0 + (line.slope - 1.0) * stranger) + sum(counted, line.intercept) * stranger


def seen_apart(logits: Tensor, candidate_features: Tensor, config: RankerConfig) -> Tensor:
    """Return the logits (B, heads), those of candidates in the user's history moved by ``seen_logit``."""
    column = config.seen_column
    if column is None:
        return logits
    seen = (2.0 * candidate_features[:, column : column + 1]).clamp(0.0, 1.0)  # log1p(1) is above 1/2; no new operator
    return logits + config.seen_logit * seen


def _stacked(rows: Sequence[Floats]) -> Tensor:
    return torch.from_numpy(np.stack(rows))


def _joined(parts: Sequence[Floats]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))


class SequenceEncoder(Protocol):
    """What can stand in for TransAct: built from its config, called with its inputs."""

    @property
    def width(self) -> int:
        """Width of a candidate's output."""
        ...

    def __call__(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, width) of types (B, T), items (B, T, I) and candidates (B, I)."""
        ...


class HybridRanker(nn.Module):
    """A logit a head for each candidate; ``export.py`` writes it for serving."""

    def __init__(self, config: RankerConfig, encoder: Callable[[TransActConfig], SequenceEncoder] = TransAct) -> None:
        """Make a ranker; only one of ``TransAct`` can be exported, other encoders are for comparison."""
        super().__init__()
        self.config = config
        self.transact = encoder(config.transact)
        sizes = config.sizes
        width = self.transact.width + sizes.item_dim + sizes.candidate_features + config.user_width
        self.crosses = nn.ModuleList(CrossLayer(width, config.cross_rank) for _ in range(config.crosses))
        self.mlp = Mlp([width, *config.mlp], config.dropout)
        self.output = nn.Linear(config.mlp[-1], len(config.heads))

    def forward(self, batch: RankerBatch) -> Tensor:
        """Return logits (B, heads)."""
        of = batch.request_of
        if isinstance(self.transact, TransAct):
            sequence = self.transact.of_requests(batch.action_types, batch.action_items, batch.candidate_items, of)
        else:
            sequence = self.transact(batch.action_types[of], batch.action_items[of], batch.candidate_items)
        shared = torch.cat([batch.user_vectors, batch.session_vectors, batch.contexts], dim=-1)  # (R, user width)
        first = torch.cat([sequence, batch.candidate_items, batch.candidate_features, shared[of]], dim=-1)
        rows = first
        for cross in self.crosses:
            rows = cross(first, rows)
        return as_served(self.output(self.mlp(rows)), batch.candidate_features, batch.contexts[of], self.config)

    @torch.no_grad()
    def probabilities(self, inputs: ModelInputs) -> Tensor:
        """Return (N, heads) for one request, in the precision of the weights: the plain twin of the exported graphs."""
        weight = self.output.weight
        return torch.sigmoid(self(collate([inputs]).to(weight.device, weight.dtype)))
