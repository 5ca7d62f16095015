"""GRU4Rec and SASRec: the next item of a user's sequence, of ids alone, by cross-entropy over all items.

::

    actions before the cut -> a user's items, oldest first -> windows -> encoder -> score of every item
    query                  -> the user's newest items (<= LENGTH) ---------^

Both have tied item vectors and differ in the encoder alone: SASRec is the causal transformer of
``movielens/next_item.py`` (Kang and McAuley, ICDM 2018), GRU4Rec one layer of GRU (Hidasi et al., ICLR 2016). Both are
trained by cross-entropy, not by their papers' losses: with it they rank as well as what came later (Klenitskiy and
Vasilev, RecSys 2023; Petrov and Macdonald, RecSys 2023). Beyond ``MAX_SCORED`` items it is sampled, with log-Q
correction. Only positives are predicted; of a tenth of the users, who are not trained on, the newest ones validate. So
all times up to the cut are trained on.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rankstream.evaluation.replay.own_scores import PastAction, Question
from rankstream.experiments.feed.rivals.base import Entry
from rankstream.experiments.feed.task import Task
from rankstream.experiments.movielens.next_item import NextItemConfig, NextItemModel, ranks
from rankstream.experiments.progress import shown
from rankstream.features.ids import Keys, id_keys
from rankstream.metrics.arrays import Bools, Floats, Ints
from rankstream.models.training.loop import FitConfig, fit
from rankstream.models.training.losses import all_items_loss_in_parts, sampled_softmax_loss
from rankstream.models.training.schedule import Examples
from rankstream.models.training.time_limit import seconds_of_work

LENGTH = 100  # newest items of a user that count
SECONDS = 240.0  # of training, at most
MAX_SCORED = 10_000  # items up to which the loss is that of all
SAMPLED = 2_000  # items of a batch that it is of beyond; half by popularity, half uniformly
POSITIONS = 2_048  # of a batch
VALIDATED_USERS, OF_EACH, VALIDATED = 0.1, 5, 1_000  # share of the users, newest positives of each, at most of all
FIT = FitConfig(epochs=200, learning_rate=4e-3, patience=10)  # small logs stay as good as popularity for a while

NewModel = Callable[[NextItemConfig], NextItemModel]


class GRU4Rec(NextItemModel):
    """The same scores of a recurrent encoder; positions need no vectors."""

    def __init__(self, config: NextItemConfig) -> None:
        super().__init__(config)
        del self.blocks, self.positions
        self.gru = nn.GRU(config.hidden, config.hidden, batch_first=True)

    def forward(self, items: Tensor) -> Tensor:
        """Return a context a position, ``(B, T, H)``, of items ``(B, T)`` int64; padding is item ``config.items``."""
        outputs, _ = self.gru(self.dropout(self.items(items) * self.scale))
        out: Tensor = self.norm(outputs)
        return out


def rank(entry: Entry, new_model: NewModel) -> str:
    """Train on what came before the cut, then rank the catalogue, or what was shown."""
    model, note = trained(entry, new_model)
    entry.replay(scorer=SequenceScorer(entry.row, model, entry.task))
    return note


rank_sasrec, rank_gru4rec = partial(rank, new_model=NextItemModel), partial(rank, new_model=GRU4Rec)


# What is learned from -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UserSequence:
    """One user's items by time, each once a time, as rows of the catalogue."""

    items: Ints  # (n,) oldest first
    wanted: Bools  # (n,) was it a positive?


def sequences_of(task: Task, rng: np.random.Generator) -> list[UserSequence]:
    """Return the sequence of each user who acted twice before the cut; what was done at one time in a random order.

    Where lists were shown, being shown an item is no act.
    """
    past = task.past
    wanted = task.is_positive[: len(past)]
    rows = np.flatnonzero(wanted if task.shown else np.ones(len(past), np.bool_))
    users, items = past.by_user.user_of_row[rows], np.searchsorted(task.catalogue.keys, past.item_keys[rows])
    times = np.unique(past.times_ms[rows], return_inverse=True)[1]
    together, which = np.unique(np.stack([users, times, items]), axis=1, return_inverse=True)
    positive = np.bincount(which.ravel(), wanted[rows], together.shape[1]) > 0
    order = np.lexsort((rng.random(together.shape[1]), together[1], together[0]))
    cuts = np.flatnonzero(np.diff(together[0][order])) + 1
    found = zip(np.split(together[2][order], cuts), np.split(positive[order], cuts), strict=True)
    return [UserSequence(items, wanted) for items, wanted in found if len(items) > 1]


def held_out(sequences: Sequence[UserSequence], rng: np.random.Generator) -> tuple[list[UserSequence], list[Ints]]:
    """Return the sequences to train on, and those to validate with, each up to one of a user's newest positives."""
    order = rng.permutation(len(sequences))
    count = max(1, int(VALIDATED_USERS * len(sequences)))
    queries = []
    for one in (sequences[at] for at in order[:count].tolist()):
        targets = np.flatnonzero(one.wanted[1:])[-OF_EACH:] + 1
        queries += [one.items[: at + 1] for at in targets.tolist()]
    kept = rng.permutation(len(queries))[:VALIDATED]
    return [sequences[at] for at in sorted(order[count:].tolist())], [queries[at] for at in kept.tolist()]


@dataclass
class Windows:
    """What a training step samples from: windows of sequences, batches of about one length."""

    sequences: Sequence[UserSequence]
    model: NextItemModel

    @cached_property
    def windows(self) -> list[UserSequence]:
        """Return the sequences in parts of LENGTH items and one more: the last of a part begins the next one."""
        parts = [
            UserSequence(one.items[at : at + LENGTH + 1], one.wanted[at : at + LENGTH + 1])
            for one in self.sequences
            for at in range(0, len(one.items) - 1, LENGTH)
        ]
        return [part for part in parts if part.wanted[1:].any()]

    @cached_property
    def lengths(self) -> Ints:
        """Return the positions of each window."""
        return np.array([len(one.items) - 1 for one in self.windows], np.int64)

    @cached_property
    def shares(self) -> Tensor:
        """Return how often a sampled item is this one: half as often as it is wanted, half as any other."""
        wanted = np.concatenate([one.items[1:][one.wanted[1:]] for one in self.windows])
        count = self.model.config.items
        of_wanted = np.bincount(wanted, minlength=count) / len(wanted)
        return torch.from_numpy(0.5 * of_wanted + 0.5 / count).float()

    def sample_loss(self, rng: np.random.Generator) -> Tensor:
        """Sample a batch and return its mean cross-entropy over the wanted items."""
        order = np.argsort(self.lengths * rng.uniform(0.8, 1.25, len(self.lengths)))
        batches = np.cumsum(self.lengths[order]) // POSITIONS
        chosen = [self.windows[at] for at in order[batches == rng.choice(np.unique(batches))].tolist()]
        longest = max(len(one.items) for one in chosen)
        items = np.full((len(chosen), longest), self.model.config.items)
        wanted = np.zeros((len(chosen), longest), np.bool_)
        for row, one in enumerate(chosen):
            items[row, : len(one.items)], wanted[row, : len(one.items)] = one.items, one.wanted
        together, mask = torch.from_numpy(items), torch.from_numpy(wanted[:, 1:])
        return self._loss(self.model(together[:, :-1])[mask], together[:, 1:][mask], rng)

    def _loss(self, contexts: Tensor, targets: Tensor, rng: np.random.Generator) -> Tensor:
        vectors = self.model.items.weight[:-1]
        if len(vectors) <= MAX_SCORED:
            return all_items_loss_in_parts(contexts, vectors, targets)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        pool = torch.multinomial(self.shares, SAMPLED, replacement=True, generator=generator)
        log_q = torch.log(SAMPLED * self.shares)
        return sampled_softmax_loss(
            contexts, vectors[targets], vectors[pool], torch.ones(()), log_q[targets], log_q[pool],
            pool == targets.unsqueeze(1), torch.ones(len(targets)),
        )  # fmt: skip


def trained(entry: Entry, new_model: NewModel) -> tuple[NextItemModel, str]:
    """Train until validation stalls or the time is over; a training that was killed goes on."""
    task, rng = entry.task, np.random.default_rng(entry.seed)
    training, validation = held_out(sequences_of(task, rng), rng)
    torch.manual_seed(entry.seed)
    model = new_model(NextItemConfig(len(task.catalogue), LENGTH))
    windows = Windows(training, model)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with shown() as progress:
            history = fit(
                model,
                windows.sample_loss,
                FIT,
                evaluate=lambda: ndcg(ranks(model, validation, exclude_seen=task.exclude_seen)),
                examples=Examples(int(windows.lengths.sum()), POSITIONS),
                checkpoints=entry.folder / "checkpoints",
                limit=seconds_of_work(SECONDS, None),
                progress=progress,
                title=entry.row,
                metric_name="ndcg@10",
            )
    finally:
        torch.set_num_threads(before)
    loss = "all items" if len(task.catalogue) <= MAX_SCORED else f"{SAMPLED:,} sampled items"
    ended = history.summary(entry.row).partition(": ")[2]
    return model, f"{ended}, of {SECONDS:g} s; loss over {loss}; validation NDCG@10 {history.validated:.3f}"


def ndcg(found: npt.NDArray[np.floating]) -> float:
    """Return the mean NDCG@10 of ranks from 1, one wanted item each."""
    return float(np.mean(np.where(found <= 10, 1 / np.log2(found + 1), 0.0))) if len(found) else 0.0


# Ranking --------------------------------------------------------------------------------------------------------------


class SequenceScorer:
    """Scores of items from a user's newest ones; of a user without any, how often they were acted on."""

    def __init__(self, name: str, model: NextItemModel, task: Task) -> None:
        self.name, self.keys = name, task.catalogue.keys
        self._model, self._acts = model.eval(), acts_of(task)
        self._counts = np.unique(task.past.item_keys, return_counts=True)[1].astype(np.float64)

    @torch.no_grad()
    def scores(self, question: Question) -> Floats:
        """Return ``(N,)`` scores of the candidates; NaN for those that nobody acted on before the cut."""
        items = self._items(question.user.actions)
        scores = self._counts
        if len(items):
            together = torch.from_numpy(items[None])
            scores = self._model.scores(self._model(together)[:, -1], together)[0].double().numpy()
        rows, known = self._rows(question.keys)
        return np.where(known, scores[rows], np.nan)

    def _items(self, actions: Sequence[PastAction]) -> Ints:
        """Return the rows of the newest known items, oldest first, each once a time."""
        acts = [one for one in reversed(actions) if one.action in self._acts]
        rows, known = self._rows(id_keys([one.item_id for one in acts]))
        steps = [(one.occurred_at_ms, row) for one, row in zip(acts, rows.tolist(), strict=True)]
        once = dict.fromkeys(step for step, is_known in zip(steps, known.tolist(), strict=True) if is_known)
        return np.array([row for _, row in once][-self._model.config.num_actions :], np.int64)

    def _rows(self, keys: Keys) -> tuple[Ints, Bools]:
        rows = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return rows, self.keys[rows] == keys


def acts_of(task: Task) -> Collection[str]:
    """Return the actions that make a sequence: all, but of shown lists the positive ones alone."""
    codes = task.opened.vocabulary.action_codes
    return {name for name, code in codes.items() if not task.shown or task.positives >> code & 1}
