"""Small logs and worlds of known answer for the tests of models."""

import numpy as np

from rankstream.events.log import EventLog, event_log
from rankstream.features.actions import Vocabulary, pack_action
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_key
from rankstream.features.sessions import session_keys
from rankstream.features.user_state import UNKNOWN_USER, UserState

MINUTE_MS = 60_000
DAY_MS = 86_400_000
START_MS = 1_700_000_000_000
VOCABULARY = Vocabulary(("view", "save", "hide"), ("home", "search"))


def a_log(rows, vocabulary=VOCABULARY) -> EventLog:
    """Rows of (user, item, action, minutes after the start)."""
    users, items, actions, minutes = zip(*rows, strict=True) if rows else ((), (), (), ())
    return event_log(
        vocabulary,
        list(users),
        list(items),
        np.array([vocabulary.action_codes[name] for name in actions], np.int64),
        START_MS + np.round(np.array(minutes, np.float64) * MINUTE_MS).astype(np.int64),
    )


def an_item_table(items: int = 30, dim: int = 8, seed: int = 0) -> ItemTable:
    vectors = np.random.default_rng(seed).standard_normal((items, dim)).astype(np.float32)
    return ItemTable(np.arange(items), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def a_markov_log(users: int, items: int, steps: int, p_next: float, seed: int = 0) -> EventLog:
    """Every user walks a ring of items: the next one with this probability, else any. Sessions of 8, a day apart."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        item = int(rng.integers(items))
        for step in range(steps):
            rows.append((user, item, "save", step + (step // 8) * 24 * 60 + int(rng.integers(3)) / 4))
            item = (item + 1) % items if rng.random() < p_next else int(rng.integers(items))
    return a_log(rows)


def a_random_log(users: int, items: int, actions: int, seed: int = 0) -> EventLog:
    """Actions of any kind at any time, many sessions, some of them long."""
    rng = np.random.default_rng(seed)
    gaps = rng.choice([0.5, 3.0, 20.0, 300.0], (users, actions), p=[0.55, 0.3, 0.1, 0.05])
    rows = [
        (f"user{user}", int(rng.integers(items)), str(rng.choice(VOCABULARY.actions)), minutes)
        for user in range(users)
        for minutes in np.cumsum(gaps[user])
    ]
    return a_log(rows)


def a_state(log: EventLog, user, encoder=None, item_table=None) -> UserState:
    """Step one user's actions through the stream's state, a few at a time, folding what leaves the history."""
    state = UNKNOWN_USER
    rows = np.flatnonzero(log.user_ids == user)
    items_of = log.item_ids[rows].tolist()
    columns = zip(log.times_ms[rows].tolist(), log.actions[rows].tolist(), items_of, strict=True)
    packed = [pack_action(time_ms, action, id_key(item), 0, 0) for time_ms, action, item in columns]
    for at in range(0, len(packed), 7):
        applied = state.apply(packed[at : at + 7], at)
        state = applied.state if encoder is None else folded(applied, encoder, item_table)
    return state


def folded(applied, encoder, item_table) -> UserState:
    """Take the recurrent state over the sessions that left the history, one after the other."""
    state = applied.state
    for keys in applied.ended:
        vectors, _ = item_table.look_up(session_keys(keys))
        before = state.tail.recurrent(encoder.tag, encoder.state_size)
        after = encoder.fold(before[None], vectors.mean(axis=0, keepdims=True))[0]
        tail = state.tail.folded(encoder.tag, after)
        state = UserState(state.history, tail, state.offset, state.total, state.departed)
    return state
