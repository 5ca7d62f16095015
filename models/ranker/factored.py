"""The ranker cut in two, exactly: what a request needs once (user side), what each candidate needs (candidate side).

A candidate is the same at every position of TransAct's input, so the first layer's attention is a part that only the
history knows plus a part that only the candidate knows. With a row x_i = [s_i | c], s_i the history's and c the
candidate's::

    query_i . key_j / sqrt(d)  =  S_ij  +  b_j(c)  +  (what is the same for all j, which a softmax does not see)
    attention's output         =  sum_j softmax_j(S_ij + b_j(c)) V'_j  +  r(c)

S (T x T), V' (T x D, the output projection folded in) and the map c -> b (I x T) are made once a request. That takes
all of the first layer's projections from a candidate, and the user's columns from the first cross; nothing else is
shared. The softmax is taken of the sum itself: splitting it into exp(S) exp(b) would save T^2 exponentials and give
NaN for weights that grow large.

Histories come in their true length T, without padding; one padding row (type 0, a zero item) is a user without any.
These are torch modules, so that a test can hold them to the plain ranker in float64; ``export.py`` writes them as the
two graphs of a bundle. Each fold below is computed in float64 and rounded once.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankstream.features.schema import CANDIDATE_INPUTS, PADDING_TYPE, USER_INPUTS, Floats, ModelInputs
from rankstream.models.layers import CrossLayer, PostNormLayer
from rankstream.models.ranker.hybrid import HybridRanker, as_served
from rankstream.models.ranker.transact import TransAct


class UserPart(NamedTuple):
    """What a request's candidates share: the user graph's outputs and the candidate graph's first inputs."""

    scores: Tensor  # (heads, T, T): S
    score_maps: Tensor  # (heads, I, T): c -> b
    values: Tensor  # (heads, T, D): V'
    rows: Tensor  # (T, D): the residual of the history's columns, zeros in the candidate's
    recent_places: Tensor  # (K,) int64: rows of the newest actions, passed on beside the max-pool
    recent_exist: Tensor  # (K, 1): 0 where the history is shorter than K
    user_columns: Tensor  # (user width,): the shared columns of the crosses' input
    user_crossed: Tensor  # (X,) or (rank,): what the first cross's weights make of them


class UserSide(nn.Module):
    """Computes a ``UserPart`` from ``schema.USER_INPUTS``."""

    def __init__(self, ranker: HybridRanker) -> None:
        super().__init__()
        config = ranker.config
        layer: PostNormLayer = transact_of(ranker).layers[0]  # type: ignore[assignment]
        self.recent_outputs = config.transact.recent_outputs
        self.item_dim = config.transact.item_dim
        self.actions = transact_of(ranker).actions
        history = config.transact.width - self.item_dim  # width of s, the columns before the candidate's
        queries, keys, values, query_bias, _, _ = _projections(layer)
        scale = queries.shape[1] ** -0.5
        self.query_weights = _weight(queries[:, :, :history].mT, layer)  # (heads, history, d)
        self.query_bias = _weight(query_bias[:, None], layer)  # (heads, 1, d)
        self.key_weights = _weight(keys[:, :, :history].mT * scale, layer)
        self.candidate_queries = _weight(queries[:, :, history:].mT, layer)  # (heads, I, d)
        self.value_weights = _weight((_outputs(layer) @ values[:, :, :history]).mT, layer)  # (heads, history, D)
        down, bias = _first_cross(ranker)
        self.cross_weights = _weight(down[:, config.candidate_width :].T, layer)
        self.cross_bias = _weight(bias, layer)

    def forward(
        self,
        action_types: Tensor,
        action_items: Tensor,
        user_vector: Tensor,
        session_vector: Tensor,
        context: Tensor,
    ) -> UserPart:
        """Return the shared part; shapes as in ``features.schema``, T of at least 1."""
        history = torch.cat([self.actions(action_types), action_items], dim=-1)  # (T, history)
        keys = history @ self.key_weights  # (heads, T, d)
        positions = torch.arange(self.recent_outputs, device=history.device)
        user_columns = torch.cat([user_vector, session_vector, context])
        return UserPart(
            scores=(history @ self.query_weights + self.query_bias) @ keys.mT,
            score_maps=self.candidate_queries @ keys.mT,
            values=history @ self.value_weights,
            rows=F.pad(history, (0, self.item_dim)),
            recent_places=positions.clamp(max=action_types.shape[0] - 1),
            recent_exist=(positions < action_types.shape[0]).to(history.dtype)[:, None],
            user_columns=user_columns,
            user_crossed=user_columns @ self.cross_weights + self.cross_bias,
        )


class CandidateSide(nn.Module):
    """Computes the probabilities (N, heads) of candidates from a ``UserPart`` and ``schema.CANDIDATE_INPUTS``."""

    def __init__(self, ranker: HybridRanker) -> None:
        super().__init__()
        config = ranker.config
        layers: list[PostNormLayer] = list(transact_of(ranker).layers)  # type: ignore[arg-type]
        first = layers[0]
        history = config.transact.width - config.transact.item_dim
        _, _, values, _, _, value_bias = _projections(first)
        outputs = _outputs(first)
        candidate = (outputs @ values[:, :, history:]).sum(0).T  # (I, D): values' candidate columns, projected
        candidate[:, history:] += torch.eye(config.transact.item_dim).to(candidate)  # and the residual
        bias = (outputs @ value_bias[:, :, None]).sum(0)[:, 0] + _exact(first.output.bias)  # attention sums to 1
        self.candidate = _weight(candidate, first)
        self.candidate_bias = _weight(bias, first)
        self.first_tail = LayerTail(first)
        self.layers = nn.ModuleList(
            FoldedLayer(layer) if layer.heads == 1 else SplitHeadsLayer(layer) for layer in layers[1:]
        )
        self.pool = transact_of(ranker).pool
        down, _ = _first_cross(ranker)
        self.first_cross = _weight(down[:, : config.candidate_width].T, first)
        cross: CrossLayer = ranker.crosses[0]  # type: ignore[assignment]
        self.first_up = None if cross.down is None else cross.up
        self.crosses = nn.ModuleList(list(ranker.crosses)[1:])
        self.mlp = ranker.mlp
        self.output = ranker.output
        self.config = config

    def forward(self, user: UserPart, candidate_items: Tensor, candidate_features: Tensor) -> Tensor:
        """Return probabilities (N, heads); N of at least 1."""
        sequence = self.sequence(user, candidate_items)
        columns = torch.cat([sequence, candidate_items, candidate_features], dim=-1)  # (N, candidate width)
        first = torch.cat([columns, user.user_columns.expand(columns.shape[0], -1)], dim=-1)  # (N, X)
        crossed = torch.addmm(user.user_crossed, columns, self.first_cross)  # (N, X) or (N, rank)
        rows = first * (crossed if self.first_up is None else self.first_up(crossed)) + first
        for cross in self.crosses:
            rows = cross(first, rows)
        context = user.user_columns[self.config.sizes.user_dim + self.config.sizes.session_dim :]
        return torch.sigmoid(as_served(self.output(self.mlp(rows)), candidate_features, context, self.config))

    def sequence(self, user: UserPart, candidate_items: Tensor) -> Tensor:
        """Return TransAct's outputs (N, (K + 1) * D)."""
        count, length, width = candidate_items.shape[0], user.rows.shape[0], user.rows.shape[1]
        own = torch.addmm(self.candidate_bias, candidate_items, self.candidate)  # (N, D): r(c) and c's residual
        rows = (own[:, None] + user.rows).view(count * length, width)
        for head in range(user.scores.shape[0]):
            beside = candidate_items @ user.score_maps[head]  # (N, T): b
            attention = torch.softmax(user.scores[head] + beside[:, None], dim=-1)  # (N, T, T)
            rows = torch.addmm(rows, attention.view(count * length, length), user.values[head])
        rows = self.first_tail(rows)
        for layer in self.layers:
            rows = layer(rows, count, length)
        grid = rows.view(count, length, width)
        recent = grid.index_select(1, user.recent_places) * user.recent_exist  # (N, K, D)
        return torch.cat([recent.flatten(1), self.pool(grid.amax(1))], dim=-1)


class LayerTail(nn.Module):
    """What follows attention in a layer: norm, feed-forward, norm; on rows in two dimensions.

    The feed-forward's last bias moves through the residual into the first norm's: one addition less a row.
    """

    def __init__(self, layer: PostNormLayer) -> None:
        super().__init__()
        last = _exact(layer.contract.bias)
        self.width = layer.contract.out_features
        self.norm_weight = _weight(_exact(layer.norm_attention.weight), layer)
        self.norm_bias = _weight(_exact(layer.norm_attention.bias) + last, layer)
        self.expand = _weight(_exact(layer.expand.weight).T, layer)
        self.expand_bias = _weight(_exact(layer.expand.bias) - _exact(layer.expand.weight) @ last, layer)
        self.contract = _weight(_exact(layer.contract.weight).T, layer)
        self.norm_ffn = layer.norm_ffn

    def forward(self, rows: Tensor) -> Tensor:
        """Return (M, D) of (M, D), attention and residual already added."""
        rows = F.layer_norm(rows, (self.width,), self.norm_weight, self.norm_bias)
        hidden = F.relu(torch.addmm(self.expand_bias, rows, self.expand))
        return self.norm_ffn(torch.addmm(rows, hidden, self.contract))  # type: ignore[no-any-return]


class FoldedLayer(nn.Module):
    """A later layer of one head, its four projections folded into two.

    ``query_i . key_j = (x_i A + u) . x_j`` with ``A = Wq' Wk``, and ``V' = x (Wo Wv)'``: what the key's bias adds is
    the same for all j, and what the value's bias adds is a constant, since attention sums to 1.
    """

    def __init__(self, layer: PostNormLayer) -> None:
        super().__init__()
        (queries,), (keys,), (values,), (query_bias,), _, (value_bias,) = _projections(layer)
        (outputs,) = _outputs(layer)
        scale = queries.shape[0] ** -0.5
        self.score = _weight(queries.T @ keys * scale, layer)  # (D, D): A
        self.score_bias = _weight(query_bias @ keys * scale, layer)  # (D,): u
        self.values = _weight((outputs @ values).T, layer)  # (D, D)
        self.value_bias = _weight(outputs @ value_bias + _exact(layer.output.bias), layer)
        self.tail = LayerTail(layer)

    def forward(self, rows: Tensor, count: int, length: int) -> Tensor:
        """Return (N * T, D) of (N * T, D)."""
        grid = (count, length, rows.shape[1])
        rows_grid = rows.view(grid)
        asking = torch.addmm(self.score_bias, rows, self.score).view(grid)
        values = torch.addmm(self.value_bias, rows, self.values).view(grid)
        attention = torch.softmax(asking @ rows_grid.mT, dim=-1)  # (N, T, T)
        return self.tail((attention @ values + rows_grid).view(count * length, -1))  # type: ignore[no-any-return]


class SplitHeadsLayer(nn.Module):
    """A later layer of several heads: as it was, head by head; folding would cost more than it saves."""

    def __init__(self, layer: PostNormLayer) -> None:
        super().__init__()
        queries, keys, values, query_bias, _, value_bias = _projections(layer)
        outputs = _outputs(layer)
        scale = queries.shape[1] ** -0.5
        self.heads = layer.heads
        self.queries = _weight(queries.mT * scale, layer)  # (heads, D, d)
        self.query_bias = _weight(query_bias * scale, layer)  # (heads, d)
        self.keys = _weight(keys.mT, layer)
        self.values = _weight(values.mT, layer)
        self.outputs = _weight(outputs.mT, layer)  # (heads, d, D)
        bias = (outputs @ value_bias[:, :, None]).sum(0)[:, 0] + _exact(layer.output.bias)
        self.bias = _weight(bias, layer)  # (D,)
        self.tail = LayerTail(layer)

    def forward(self, rows: Tensor, count: int, length: int) -> Tensor:
        """Return (N * T, D) of (N * T, D)."""
        grid = (count, length, self.queries.shape[2])
        mixed = rows + self.bias
        for head in range(self.heads):
            queries = torch.addmm(self.query_bias[head], rows, self.queries[head]).view(grid)
            attention = torch.softmax(queries @ (rows @ self.keys[head]).view(grid).mT, dim=-1)  # (N, T, T)
            output = (attention @ (rows @ self.values[head]).view(grid)).view(count * length, -1)
            mixed = torch.addmm(mixed, output, self.outputs[head])
        return self.tail(mixed)  # type: ignore[no-any-return]


class SplitRanker:
    """The two sides as one ranker in torch: ``HybridRanker.probabilities`` at a fraction of the work."""

    def __init__(self, ranker: HybridRanker) -> None:
        self.user, self.candidate = UserSide(ranker).eval(), CandidateSide(ranker).eval()

    @torch.no_grad()
    def probabilities(self, inputs: ModelInputs) -> Floats:
        """Return (N, heads) for one request."""
        like = self.candidate.candidate
        tensors = {
            name: torch.from_numpy(getattr(inputs, name)) for name in (*USER_INPUTS, *CANDIDATE_INPUTS)
        } | padding_row(inputs)
        tensors = {
            name: part.to(like.device, like.dtype if part.is_floating_point() else None)
            for name, part in tensors.items()
        }
        user = self.user(*(tensors[name] for name in USER_INPUTS))
        probabilities: Floats = self.candidate(user, *(tensors[name] for name in CANDIDATE_INPUTS)).cpu().numpy()
        return probabilities


def transact_of(ranker: HybridRanker) -> TransAct:
    """Return the ranker's encoder. Raises ``ValueError`` for another than ``TransAct``: the algebra is its own."""
    if type(ranker.transact) is not TransAct:
        raise ValueError(f"a ranker of {type(ranker.transact).__name__} can't be split; only one of TransAct is served")
    return ranker.transact


def padding_row(inputs: ModelInputs) -> dict[str, Tensor]:
    """Return the padding row of a user without actions; nothing for one with actions."""
    if len(inputs.action_types):
        return {}
    item = torch.zeros(1, inputs.action_items.shape[1])
    return {"action_types": torch.tensor([PADDING_TYPE]), "action_items": item}


def _projections(layer: PostNormLayer) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return weights (heads, d, D) of queries, keys and values, then their biases (heads, d), in float64."""
    weights = [part.unflatten(0, (layer.heads, -1)) for part in _exact(layer.project.weight).chunk(3)]
    biases = [part.unflatten(0, (layer.heads, -1)) for part in _exact(layer.project.bias).chunk(3)]
    return (*weights, *biases)


def _outputs(layer: PostNormLayer) -> Tensor:
    """Return the output projection of each head, (heads, D, d), in float64."""
    outputs: Tensor = _exact(layer.output.weight).unflatten(1, (layer.heads, -1)).permute(1, 0, 2)
    return outputs


def _first_cross(ranker: HybridRanker) -> tuple[Tensor, Tensor]:
    """Return the weight that the first cross applies to its input, (X or rank, X), and the bias that goes with it."""
    cross: CrossLayer = ranker.crosses[0]  # type: ignore[assignment]
    if cross.down is None:
        return _exact(cross.up.weight), _exact(cross.up.bias)
    down = _exact(cross.down.weight)
    return down, down.new_zeros(len(down))


def _exact(parameter: Tensor) -> Tensor:
    return parameter.detach().double()


def _weight(folded: Tensor, like: PostNormLayer) -> nn.Parameter:
    """Round a folded weight once, to the precision of the layer it comes from."""
    return nn.Parameter(folded.to(like.output.weight.dtype).contiguous(), requires_grad=False)
