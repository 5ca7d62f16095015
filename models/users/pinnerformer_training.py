"""Training of PinnerFormer: dense all-action labels, sampled softmax (KDD'22, 3.3 and 3.4), and its validation.

One batch: a window of each of some users' sequences, random positions in each, for each position one positive of its
own next 28 days; negatives are the batch's positives and random items, in one pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn

from rankstream.events.arrivals import LogError
from rankstream.events.log import EventLog
from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Floats
from rankstream.models.training.holdout import Queries, future_queries, recall, rows_within, split_users
from rankstream.models.training.loop import FitConfig, FitHistory, fit
from rankstream.models.training.losses import no_loss, sampled_softmax_loss
from rankstream.models.training.negatives import CountSketch, log_pool_rate, uniform_items
from rankstream.models.training.schedule import Examples
from rankstream.models.training.time_limit import NO_LIMIT, TimeLimit
from rankstream.models.users.labels import DenseLabels, SampleLabels, Windows, dense_labels, random_windows
from rankstream.models.users.pinnerformer import ActionSequences, PinnerFormer, PinnerFormerConfig, known_surfaces
from rankstream.models.users.time_features import DAY_MS, time_features

MAX_QUERIES = 1000  # of a validation: each encodes a window, and 1,000 take as long as ten steps or so
COUNTED_BATCHES = 1000  # sampled before training: log Q needs to know how often an item is an in-batch negative


@dataclass(frozen=True)
class PinnerFormerTraining:
    """How batches are drawn; the paper's values behind each."""

    users: int = 64  # of a batch; 128 a GPU
    labels: SampleLabels = dense_labels  # the objective
    positions: int = 16  # trained in each window; 32
    horizon_ms: int = 28 * DAY_MS  # K: how far a label may lie ahead
    in_batch: int = 512  # positives of the batch, and of others if it has fewer, that serve as negatives; 5,000
    uniform: int = 512  # random negatives; 8,192
    log_q: bool = True  # without it in-batch negatives push popular items away: .071 instead of .167 recall
    sketch_width: int = 1 << 20  # of the counts behind log Q: exact up to as many items, four rows of counters beyond
    temperature: float = 0.1  # to start from; learned
    min_temperature: float = 0.01  # below it training diverges
    held_out_users: float = 0.1  # validated on, never trained on, as the paper's split by user
    max_held_out: int = 1000
    validate_horizon_ms: int = 14 * DAY_MS  # the paper's metric: positives of the next 14 days
    exclude_seen: bool = True  # of validation: are items left out that the user acted on before?
    fit: FitConfig = field(default_factory=FitConfig)


class PinnerFormerLearner(nn.Module):
    """The model and what only training needs of it: the temperature."""

    def __init__(self, model: PinnerFormer, training: PinnerFormerTraining) -> None:
        super().__init__()
        self.model = model
        self.temperature = nn.Parameter(torch.tensor(training.temperature))


@dataclass
class PinnerFormerTask:
    """Everything that a step draws from."""

    sequences: UserSequences  # of known items only
    item_table: ItemTable
    positives: Ints  # rows of the sequences that are labels, sorted
    users: Ints  # trained on
    training: PinnerFormerTraining
    learner: PinnerFormerLearner
    device: torch.device

    @cached_property
    def items(self) -> Tensor:
        """Return item vectors on the device, ``(items, I)``."""
        return torch.from_numpy(self.item_table.vectors).to(self.device)

    @cached_property
    def sampled_positives(self) -> Ints:
        """Return the positives of some batches, sampled ahead: the distribution of in-batch negatives."""
        rng = np.random.default_rng([self.training.fit.seed, 71])
        sampled = np.concatenate([self.sample_labels(rng)[1].items for _ in range(COUNTED_BATCHES)])
        return sampled if len(sampled) else self.sequences.item_rows[self.positives]  # labels are that rare

    @cached_property
    def examples(self) -> Examples:
        """Return after how many actions a positive lies ahead, and how many of these a batch holds on average."""
        rows = np.flatnonzero(np.isin(self.sequences.users, self.users))
        count = np.count_nonzero(positives_ahead(self.sequences, self.positives, rows, self.training.horizon_ms))
        return Examples(int(count), len(self.sampled_positives) / COUNTED_BATCHES)

    @cached_property
    def label_counts(self) -> CountSketch:
        """Count how often each item is a batch's positive. The paper counts while it trains; we count ahead."""
        width = self.training.sketch_width
        exact = len(self.item_table) <= width
        sketch = CountSketch(len(self.item_table) if exact else width, 1 if exact else 4)
        sketch.add(self.sampled_positives)
        return sketch

    def sample_labels(self, rng: np.random.Generator) -> tuple[Windows, DenseLabels]:
        """Draw a batch: windows, and their labels."""
        training = self.training
        users = rng.choice(self.users, min(training.users, len(self.users)), replace=False)
        windows = random_windows(self.sequences, users, self.learner.model.config.num_actions, rng)
        pairs = training.labels(self.sequences, self.positives, windows, training.positions, training.horizon_ms, rng)
        return windows, pairs

    def sample_negatives(self, labels: DenseLabels, rng: np.random.Generator) -> Ints:
        """Draw the pool of negatives of a batch: exactly as many of each kind as log Q assumes."""
        training = self.training
        mine = rng.permutation(labels.items)[: training.in_batch]
        missing = training.in_batch - len(mine)
        others = self.sampled_positives[rng.integers(0, len(self.sampled_positives), missing)] if missing else mine[:0]
        return np.concatenate([mine, others, uniform_items(training.uniform, len(self.item_table), rng)])

    def sample_loss(self, rng: np.random.Generator) -> Tensor:
        """Draw a batch and return its loss."""
        windows, labels = self.sample_labels(rng)
        if not len(labels.items):  # where few actions have a positive after them
            return no_loss(self.learner)
        return self.loss_of(windows, labels, self.sample_negatives(labels, rng))

    def loss_of(self, windows: Windows, labels: DenseLabels, pool: Ints) -> Tensor:
        """Return the loss of these labels against this pool of negatives."""
        model, device = self.learner.model, self.device
        users = self.user_vectors(windows, labels)  # (P, U)
        pairs = np.bincount(labels.windows, minlength=len(windows.starts))
        return sampled_softmax_loss(
            users,
            model.encode_items(self.items[torch.from_numpy(labels.items).to(device)]),
            model.encode_items(self.items[torch.from_numpy(pool).to(device)]),
            self.learner.temperature.clamp(min=self.training.min_temperature),
            self.log_q(labels.items),
            self.log_q(pool),
            torch.from_numpy(own_positives(labels, pool)).to(device),
            torch.from_numpy((1.0 / pairs[labels.windows]).astype(np.float32)).to(device),  # users weigh the same
        )

    def user_vectors(self, windows: Windows, labels: DenseLabels) -> Tensor:
        """Return the user vectors as of the labels' positions, ``(P, U)``: windows of about one length at a time.

        Most sequences are short and few are long: padded to the longest together, most rows would be padding.
        """
        model, device = self.learner.model, self.device
        groups = np.ceil(np.log2(np.maximum(windows.lengths, 4))).astype(np.int64)  # up to 4, 8, 16, ... actions
        vectors, pairs = [], []
        for group in np.unique(groups[labels.windows]):
            which = np.flatnonzero(groups == group)
            mine = np.flatnonzero(groups[labels.windows] == group)
            part = Windows(windows.starts[which], windows.ends[which])
            tokens = action_sequences(self.sequences, self.item_table, part, model.config, device)
            rows = torch.from_numpy(np.searchsorted(which, labels.windows[mine])).to(device)
            vectors.append(model.encode_at(tokens, rows, torch.from_numpy(labels.positions[mine]).to(device)))
            pairs.append(mine)
        back = torch.from_numpy(np.argsort(np.concatenate(pairs))).to(device)
        return torch.cat(vectors)[back]

    def log_q(self, items: Ints) -> Tensor:
        """Return log Q of items, ``(n,)``."""
        training = self.training
        rates = np.zeros(len(items))
        if training.log_q:
            shares = self.label_counts.shares(items)
            rates = log_pool_rate(shares, training.in_batch, training.uniform, len(self.item_table))
        return torch.from_numpy(rates.astype(np.float32)).to(self.device)


def own_positives(labels: DenseLabels, pool: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which of the pool are positives of a pair's own user in this batch, ``(P, M)``."""
    items = np.unique(np.concatenate([labels.items, pool]))
    owned = np.zeros((int(labels.windows.max(initial=-1)) + 1, len(items)), np.bool_)  # (windows, different items)
    owned[labels.windows, np.searchsorted(items, labels.items)] = True
    mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = owned[:, np.searchsorted(items, pool)][labels.windows]
    return mask


def action_sequences(
    sequences: UserSequences, item_table: ItemTable, windows: Windows, config: PinnerFormerConfig, device: torch.device
) -> ActionSequences:
    """Return windows of the sequences as the model sees them: oldest first, padded on the right."""
    lengths = windows.lengths
    count = int(lengths.max(initial=1))
    steps = np.arange(count)
    real = steps < lengths[:, None]  # (B, T)
    rows = np.where(real, windows.starts[:, None] + steps, 0)
    angles, logs = time_features(np.where(real, sequences.times_ms[rows], 0), lengths)
    item_rows = np.where(real, sequences.item_rows[rows], -1)
    tokens = ActionSequences(
        item_vectors=torch.from_numpy(item_table.padded[item_rows]),
        action_types=torch.from_numpy(np.where(real, sequences.actions[rows], 0)),
        surfaces=torch.from_numpy(known_surfaces(np.where(real, sequences.surfaces[rows], 0), config)),
        log_values=torch.from_numpy(np.where(real, sequences.log_values[rows], np.float32(0))),
        angles=torch.from_numpy(angles),
        logs=torch.from_numpy(logs),
    )
    return ActionSequences(*(tensor.to(device) for tensor in tokens))


@torch.no_grad()
def user_vectors_at(
    model: PinnerFormer, sequences: UserSequences, item_table: ItemTable, rows: Ints, batch: int = 256
) -> Floats:
    """Return the user vector as of each of these rows, ``(n, U)``; the sequences hold known items only."""
    device = next(model.parameters()).device
    starts = np.maximum(sequences.starts[sequences.users[rows]], rows + 1 - model.config.num_actions)
    vectors = np.zeros((len(rows), model.config.user_dim), np.float32)
    order = np.argsort(rows + 1 - starts, kind="stable")  # windows of about one length together: little padding
    for at in range(0, len(rows), batch):
        part = order[at : at + batch]
        windows = Windows(starts[part], rows[part] + 1)
        tokens = action_sequences(sequences, item_table, windows, model.config, device)
        lengths = torch.from_numpy(windows.lengths).to(device)
        vectors[part] = model.encode_last(tokens, lengths).cpu().numpy()
    return vectors


@torch.no_grad()
def item_vectors_of(model: PinnerFormer, item_table: ItemTable) -> Floats:
    """Return the table's items in the users' space, ``(items, U)``."""
    device = next(model.parameters()).device
    vectors: Floats = model.encode_items(torch.from_numpy(item_table.vectors).to(device)).cpu().numpy()
    return vectors


def train_pinnerformer(
    log: EventLog,
    item_table: ItemTable,
    positives: Sequence[str],
    config: PinnerFormerConfig,
    training: PinnerFormerTraining,
    *,
    checkpoints: Path | None = None,
    limit: TimeLimit = NO_LIMIT,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> tuple[PinnerFormer, FitHistory]:
    """Train on a log, all of which may be seen; return the model with its best weights and the course of training.

    Raises ``LogError`` if no action has a positive one after it.
    """
    device = device or torch.device("cpu")
    sequences = group_by_user(log, item_table).known()
    labels = np.flatnonzero(np.isin(sequences.actions, log.codes_of(positives)))
    trained, held_out = split_users(sequences, training.held_out_users, training.max_held_out, training.fit.seed)
    _check_learnable(sequences, labels, trained, positives, training.horizon_ms)
    torch.manual_seed(training.fit.seed)
    learner = PinnerFormerLearner(PinnerFormer(config), training).to(device)
    task = PinnerFormerTask(sequences, item_table, labels, trained, training, learner, device)
    rows = rows_within(sequences, held_out, (0.25, 0.5, 0.75))
    queries = future_queries(sequences, labels, rows, training.validate_horizon_ms, training.exclude_seen)
    queries = queries.sample(MAX_QUERIES, training.fit.seed)

    def validation() -> float:
        return measure(learner.model, sequences, item_table, queries)

    history = fit(
        learner,
        task.sample_loss,
        training.fit,
        evaluate=validation if len(queries) else None,
        examples=task.examples,
        checkpoints=checkpoints,
        limit=limit,
        progress=progress,
        title="PinnerFormer",
        metric_name="recall@10",
    )
    return learner.model, history


def _check_learnable(
    sequences: UserSequences, labels: Ints, users: Ints, positives: Sequence[str], horizon_ms: int
) -> None:
    rows = np.flatnonzero(np.isin(sequences.users, users))
    if not np.any(positives_ahead(sequences, labels, rows, horizon_ms)):
        raise LogError(nothing_ahead(len(users), positives, horizon_ms))


def positives_ahead(sequences: UserSequences, positives: Ints, rows: Ints, horizon_ms: int) -> Ints:
    """Return how many of the user's ``positives`` (rows, sorted) lie within a horizon after each of these rows."""
    first, last = (np.searchsorted(positives, sequences.first_after(rows, within)) for within in (0, horizon_ms))
    return last - first


def nothing_ahead(users: int, positives: Sequence[str], horizon_ms: int) -> str:
    """Return the sentence about a log in which no positive is later than another action of its user."""
    return (
        f"none of the {users:,} users to train on has a positive action ({', '.join(positives)}) at a later time than "
        f"another action and within {horizon_ms // DAY_MS} days of it, which user vectors are learned from; give times "
        "of day where the log has dates alone, a longer log, or other actions with --positive"
    )


def measure(model: PinnerFormer, sequences: UserSequences, item_table: ItemTable, queries: Queries) -> float:
    """Return recall@10 of the user vectors as of the queries."""
    vectors = user_vectors_at(model, sequences, item_table, queries.rows)
    return recall(vectors, item_vectors_of(model, item_table), queries)
