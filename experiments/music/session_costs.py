"""What session models cost, all measured in one run: training a next item, serving an action, a batch's data.

Seconds are CPU time of the process on one thread, so that other load does not count. Served one action at a
time as a stream does: recurrent models step, convolutions run over the items that they see.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from rankstream.events.sequences import UserSequences
from rankstream.experiments.music.padded_histories import PaddedBatch, PaddedTask
from rankstream.experiments.music.session_baselines import HRNN, FlatGRU, FlatTCN
from rankstream.experiments.music.session_queues import QueueTask
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.schema import Bools
from rankstream.features.sessions import MAX_SESSION_ITEMS
from rankstream.models.sessions.hiertcn import HierTCN
from rankstream.models.sessions.hiertcn_training import SessionBatch

SERVED_USERS = 20  # those with the longest histories
SERVED_ACTIONS = 100  # of each


def training_cost(learner: nn.Module, task: QueueTask | PaddedTask, steps: int) -> float:
    """Return microseconds a next item of so many steps of training."""
    optimizer = torch.optim.AdamW(learner.parameters(), 1e-3)
    learner.train()
    start = 0.0
    for step in range(steps + 2):
        if step == 2:  # warm-up: what is computed once is no cost of a step
            start = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        task.sample_loss(np.random.default_rng([7, step])).backward()
        optimizer.step()
    seconds = time.process_time() - start
    losses = np.mean([batch.loss_mask.sum() for batch in batches(task, 300)])
    return float(1e6 * seconds / steps / losses)


def batches(task: QueueTask | PaddedTask, count: int) -> Iterator[SessionBatch | PaddedBatch]:
    """Draw batches as training does, without the model."""
    for step in range(count):
        rng = np.random.default_rng([8, step])
        if isinstance(task, PaddedTask):
            yield task.draw(rng)
        else:
            yield task.base.windows_of(task.queues.at(step).sessions, rng)


def data_cost(task: QueueTask | PaddedTask, count: int = 300) -> dict[str, float]:
    """Return a batch's bytes, maximum and mean, next items, and the share of its rows that is padding.

    Bytes are of the model's inputs: item vectors, means of sessions, targets.
    """
    width = task.items.shape[1] if isinstance(task, PaddedTask) else task.base.items.shape[1]
    sizes, losses, padding = [], [], []
    for batch in batches(task, count):
        items = batch.items if isinstance(batch, PaddedBatch) else batch.opened
        means = 0 if isinstance(batch, PaddedBatch) else batch.pooled.nbytes
        sizes.append(4 * width * items.size + means + batch.targets.nbytes + batch.loss_mask.nbytes)
        losses.append(batch.loss_mask.sum())
        padding.append(1 - batch.loss_mask.sum() / batch.loss_mask.size)
    return {
        "batch_mb_max": max(sizes) / 1e6,
        "batch_mb_mean": float(np.mean(sizes)) / 1e6,
        "bytes_a_next_item_max": max(sizes) / float(np.mean(losses)),
        "next_items_a_batch": float(np.mean(losses)),
        "padding": float(np.mean(padding)),
    }


@torch.no_grad()
def serving_cost(model: nn.Module, sequences: UserSequences, item_table: ItemTable) -> float:
    """Return microseconds an action of serving some long histories, an action at a time."""
    model.eval()
    users = np.argsort(-np.diff(sequences.starts), kind="stable")[:SERVED_USERS]
    starting = np.zeros(len(sequences) + 1, np.bool_)
    starting[sequences.session_starts()] = True
    items = torch.from_numpy(item_table.padded)
    served, seconds = 0, 0.0
    for user in users:
        rows = np.arange(sequences.starts[user], sequences.starts[user + 1])[:SERVED_ACTIONS]
        vectors = items[torch.from_numpy(sequences.item_rows[rows])]
        start = time.process_time()
        for _ in _served(model, vectors, starting[rows]):
            served += 1
        seconds += time.process_time() - start
    return 1e6 * seconds / served


def _served(model: nn.Module, items: Tensor, starting: Bools) -> Iterator[Tensor]:
    """Yield the vector after each of a user's items, ``(T, I)``; ``starting`` marks the first item of a session."""
    if isinstance(model, FlatGRU):
        states = None
        for item in items:
            vectors, states = model.stepped(item[None, None], states)
            yield vectors[0, 0]
    elif isinstance(model, FlatTCN):
        for step in range(1, len(items) + 1):
            yield model(items[None, max(0, step - model.config.receptive_field) : step])[0, -1]
    elif isinstance(model, HRNN):
        yield from _served_by_hrnn(model, items, starting)
    elif isinstance(model, HierTCN):
        yield from _served_by_hiertcn(model, items, starting)
    else:
        raise TypeError(f"don't know how to serve a {type(model).__name__}")


def _served_by_hiertcn(model: HierTCN, items: Tensor, starting: Bools) -> Iterator[Tensor]:
    state, first = items.new_zeros(1, model.config.state_size), 0
    zeros = items.new_zeros(1, items.shape[1])
    for step in range(len(items)):
        if starting[step] and step:
            state = model.fold(state, items[max(first, step - MAX_SESSION_ITEMS) : step].mean(0, keepdim=True))
            first = step
        yield model.encode(state, torch.cat([zeros, items[max(first, step + 1 - MAX_SESSION_ITEMS) : step + 1]]))


def _served_by_hrnn(model: HRNN, items: Tensor, starting: Bools) -> Iterator[Tensor]:
    user, session = items.new_zeros(1, model.config.hidden), None
    begin = items.new_zeros(1, 1, items.shape[1])  # the start row, as in training
    for step, item in enumerate(items):
        if starting[step]:
            user = user if session is None else model.user(session[0], user)
            session = model.session(begin, torch.tanh(model.start(user)).unsqueeze(0))[1]
        hidden, session = model.session(item[None, None], session)
        yield nn.functional.normalize(model.leave(hidden[0, 0]), dim=-1)
