"""Sessionization of a whole log, by the rules of serving, and the session vector as of any row."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rankstream.events.sequences import UserSequences
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Floats
from rankstream.features.sessions import MAX_SESSION_ITEMS
from rankstream.models.sessions.hiertcn import HierTCN

AT_ONCE = 8192  # sessions whose items' vectors are held in memory

LowLevel = Callable[[Tensor, Tensor], Tensor]  # states (N, H), started sessions (N, 1 + T, I) -> (N, 1 + T, S)


@dataclass(frozen=True)
class UserSessions:
    """All users' sessions, in the order of the sequences."""

    starts: Ints  # (sessions,) rows of the sequences
    ends: Ints  # (sessions,)
    users: Ints  # (sessions,)
    user_starts: Ints  # (users + 1,) where each user's sessions start
    pooled: Floats  # (sessions, I) mean of the newest 20 items, an unknown one being zeros

    def __len__(self) -> int:
        return len(self.starts)


def sessionize(sequences: UserSequences, item_table: ItemTable) -> UserSessions:
    """Cut the sequences into sessions."""
    starts = sequences.session_starts()
    ends = np.append(starts[1:], len(sequences)) if len(starts) else starts
    users = sequences.users[starts]
    pooled = [np.zeros((0, item_table.dim), np.float32)]
    for at in range(0, len(starts), AT_ONCE):
        pooled.append(_means(starts[at : at + AT_ONCE], ends[at : at + AT_ONCE], sequences.item_rows, item_table))
    counts = np.bincount(users, minlength=sequences.num_users)
    user_starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return UserSessions(starts, ends, users, user_starts, np.concatenate(pooled))


def _means(starts: Ints, ends: Ints, item_rows: Ints, item_table: ItemTable) -> Floats:
    """Return the mean vector of the newest 20 items of sessions one after the other, ``(sessions, I)``."""
    first = starts[0]
    sums = np.cumsum(item_table.padded[item_rows[first : ends[-1]]], axis=0, dtype=np.float64)
    sums = np.concatenate([np.zeros((1, item_table.dim)), sums])
    newest = np.maximum(starts, ends - MAX_SESSION_ITEMS)
    means = (sums[ends - first] - sums[newest - first]) / np.maximum(ends - newest, 1)[:, None]
    narrow: Floats = means.astype(np.float32)
    return narrow


def newest_items(sessions: UserSessions, sequences: UserSequences, which: Ints) -> tuple[Ints, Ints]:
    """Return the item-table rows of the newest 20 items of sessions ``(...,)``, and how many actions those are.

    ``(..., 20)``, oldest first, -1 for unknown items and padding on the right; a session of -1 is padding and has none.
    """
    ends = np.where(which >= 0, sessions.ends[which], 0)
    firsts = np.maximum(np.where(which >= 0, sessions.starts[which], 0), ends - MAX_SESSION_ITEMS)
    rows = firsts[..., None] + np.arange(MAX_SESSION_ITEMS)
    within = rows < ends[..., None]
    return np.where(within, sequences.item_rows[np.where(within, rows, 0)], -1), ends - firsts


@torch.no_grad()
def states_before_sessions(model: HierTCN, sessions: UserSessions) -> Tensor:
    """Return the recurrent state before every session, ``(sessions, H)``, each user's from its first session on."""
    device = next(model.parameters()).device
    pooled = torch.from_numpy(sessions.pooled).to(device)
    before = pooled.new_zeros(len(sessions), model.config.state_size)
    nth = np.arange(len(sessions)) - sessions.user_starts[sessions.users]
    order = np.argsort(nth, kind="stable")
    cuts: Ints = np.cumsum(np.bincount(nth))[:-1]
    for rows in np.split(order, cuts)[1:]:  # all users' second sessions, then all third ones
        now, last = torch.from_numpy(rows).to(device), torch.from_numpy(rows - 1).to(device)
        before[now] = model.fold(before[last], pooled[last])
    return before


@torch.no_grad()
def session_vectors_at(
    model: HierTCN, sequences: UserSequences, item_table: ItemTable, rows: Ints, batch: int = 512
) -> Floats:
    """Return the session vector that serving would have right after each of these rows, ``(n, S)``."""
    sessions = sessionize(sequences, item_table)
    states = states_before_sessions(model, sessions)
    return vectors_of_open_sessions(model.low_level, states, sessions, sequences, item_table, rows, batch)


def vectors_of_open_sessions(
    low_level: LowLevel,
    states: Tensor,
    sessions: UserSessions,
    sequences: UserSequences,
    item_table: ItemTable,
    rows: Ints,
    batch: int,
) -> Floats:
    """Return vectors after rows, ``(n, S)``, of the states before all sessions and the open one's newest 20 items."""
    device = states.device
    items = torch.from_numpy(item_table.padded).to(device)
    which = np.searchsorted(sessions.starts, rows, side="right") - 1
    firsts = np.maximum(sessions.starts[which], rows + 1 - MAX_SESSION_ITEMS)
    steps = np.arange(MAX_SESSION_ITEMS)
    vectors = [np.zeros((0, item_table.dim), np.float32)]
    for at in range(0, len(rows), batch):
        part = slice(at, at + batch)
        window = firsts[part, None] + steps  # (n, 20)
        seen = window <= rows[part, None]
        opened = np.where(seen, sequences.item_rows[np.where(seen, window, 0)], -1)
        started = nn.functional.pad(items[torch.from_numpy(opened).to(device)], (0, 0, 1, 0))  # (n, 21, I)
        every = low_level(states[torch.from_numpy(which[part]).to(device)], started)
        last = torch.from_numpy(seen.sum(axis=1)).to(device)
        vectors.append(every[torch.arange(len(last), device=device), last].cpu().numpy())
    return np.concatenate(vectors)
