r"""Queue-based mini-batches (HierTCN, 4.3): users' sessions in a few long queues, a run of each queue a step.

::

    queue 0   a1 a2 a3 a4 | d1 d2 d3 ...      a, b, ... are users, the next one joins the shortest queue
    queue 1   b1 b2 | c1 c2 c3 c4 | e1 ...
              \___ a step ___/\__ the next __  the state is carried over, and reset at a user's first session

A step holds ``queues * run`` sessions of at most 20 items, however long a history is, and none of them is padding.
Sessions are cut and pooled once, before training. The state is carried over steps without its gradient.
"""

from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heapreplace
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from rankstream.features.schema import Bools, Floats
from rankstream.models.sessions.hiertcn_training import HierTCNTask, HierTCNTraining, SessionLearner, next_item_loss
from rankstream.models.sessions.sessionize import UserSessions
from rankstream.models.training.negatives import Ints


class ModelOfSessions(Protocol):
    """A model of users' sessions in a row: HierTCN, or one that it is compared with."""

    def over_sessions(
        self, opened: Tensor, lengths: Tensor, pooled: Tensor, states: Tensor, fresh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return session vectors ``(B, N, 1 + L, S)`` and states after the last session, ``(B, H)``.

        ``opened (B, N, L, I)`` are items, padded on the right to L, ``lengths (B, N)`` how many are real, ``pooled
        (B, N, I)`` the sessions' means, ``states (B, H)`` what came before, ``fresh (B, N)`` where a user starts.
        """
        ...


@dataclass(frozen=True)
class QueueBatch:
    """A step's sessions."""

    sessions: Ints  # (B, N)
    fresh: Bools  # (B, N) is it its user's first?


@dataclass
class SessionQueues:
    """The order of the sessions: the same for the same seed, wherever a run is resumed."""

    sessions: UserSessions
    users: Ints
    queues: int  # B
    run: int  # N
    seed: int

    def __post_init__(self) -> None:
        self._cached: tuple[int, list[Ints]] = (-1, [])
        if self.steps_an_epoch < 1:
            raise ValueError(
                f"{self.queues} queues of {self.run} sessions a step, but there are {len(self.sessions)} sessions in "
                "all; wanted fewer queues or more users"
            )

    @cached_property
    def steps_an_epoch(self) -> int:
        """How many steps an epoch has; sessions beyond the shortest queue's end wait for another epoch's order."""
        lengths = np.diff(self.sessions.user_starts)[self.users]
        shortest = (int(lengths.sum()) - self.queues * int(lengths.max(initial=0))) // self.queues
        return shortest // self.run

    def at(self, step: int) -> QueueBatch:
        """Return the batch of a step, counted from 0 over all epochs."""
        epoch, index = divmod(step, self.steps_an_epoch)
        if self._cached[0] != epoch:
            self._cached = (epoch, self._epoch(epoch))
        sessions = np.stack([queue[index * self.run : (index + 1) * self.run] for queue in self._cached[1]])
        return QueueBatch(sessions, self.sessions.user_starts[self.sessions.users[sessions]] == sessions)

    def _epoch(self, epoch: int) -> list[Ints]:
        """Assign users to queues: each joins the queue that is the shortest by then."""
        order = np.random.default_rng([self.seed, 41, epoch]).permutation(self.users)
        queued: list[list[Ints]] = [[] for _ in range(self.queues)]
        shortest = [(0, queue) for queue in range(self.queues)]
        heapify(shortest)
        for user in order:
            length, queue = shortest[0]
            queued[queue].append(np.arange(self.sessions.user_starts[user], self.sessions.user_starts[user + 1]))
            heapreplace(shortest, (length + len(queued[queue][-1]), queue))
        return [np.concatenate(queue) if queue else np.zeros(0, np.int64) for queue in queued]


class QueueLearner(SessionLearner):
    """A session model and what its training carries from step to step, kept in checkpoints: states and the turn."""

    turn: Tensor
    states: Tensor

    def __init__(
        self, model: nn.Module, state_size: int, training: HierTCNTraining, items: Floats | None = None
    ) -> None:
        super().__init__(model, training, items)
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))
        self.register_buffer("states", torch.zeros(training.users, state_size))


@dataclass
class QueueTask:
    """Training of a session model from queues; sessions' windows and losses are ``HierTCNTask``'s."""

    base: HierTCNTask
    queues: SessionQueues
    learner: QueueLearner

    def sample_loss(self, rng: np.random.Generator) -> Tensor:
        """Take the next run of sessions of each queue and return its loss; states are carried to the next step."""
        learner, device = self.learner, self.base.device
        items = learner.items_or(self.base.items)
        turn = self.queues.at(int(learner.turn))
        batch = self.base.windows_of(turn.sessions, rng)
        opened = torch.from_numpy(batch.opened).to(device)  # (B, N, L)
        vectors, after = session_model(learner).over_sessions(
            items[opened],
            torch.from_numpy(batch.lengths).to(device),
            self.base.pooled(turn.sessions, batch, items),
            learner.states,
            torch.from_numpy(turn.fresh).to(device),
        )
        learner.states = after.detach()
        learner.turn += 1
        mask = torch.from_numpy(batch.loss_mask).to(device)
        targets = torch.from_numpy(batch.targets[batch.loss_mask]).to(device)
        return next_item_loss(vectors[mask], targets, items, learner.temperature, self.base.training, rng)


def session_model(learner: QueueLearner) -> ModelOfSessions:
    """Return the learner's model as what it is."""
    return cast(ModelOfSessions, learner.model)
