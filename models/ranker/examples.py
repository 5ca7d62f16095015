"""From a log to the ranker's training batches, through the same code that serves.

Each time at which a user acted is a request that was made just before it: the state is what the user did strictly
earlier, built by ``UserState.apply``; the candidates are what was acted on, and items drawn at random; what the ranker
sees of them is made by ``join``. So training can't see what serving would not::

    a user's log     a  b   cc'  d  ...        (c and c' at the same time)
    requests         .  .   |    |
      state                 ab   abcc'         strictly earlier
      candidates            c c' x y z  d x y  labels from the actions; x y z drawn, labels 0

Requests keep packed states and keys, 2 KB each, and are joined batch by batch: a matrix of all histories would not
fit. Users are independent of each other here; the item and user tables must not know the time after the requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.events.labels import Heads, head_labels
from rankstream.events.log import EventLog
from rankstream.events.sequences import packed_actions, rows_by_user
from rankstream.features.history import DEFAULT_LIMIT, History
from rankstream.features.ids import Keys
from rankstream.features.join import OfflineFeatures, fold_ended, join, pool_sessions
from rankstream.features.schema import Floats, ModelInputs
from rankstream.features.sessions import sessions_now
from rankstream.features.user_state import Applied, UserState
from rankstream.features.user_view import known_actions, view_user
from rankstream.models.ranker.hybrid import RankerBatch, collate
from rankstream.models.sessions.torch_encoder import SessionInputs, TorchSessions


@dataclass(frozen=True)
class NegativesConfig:
    """How candidates that were not acted on are drawn."""

    count: int = 8  # a request; fewer where the items don't suffice
    popular: float = 0.5  # share drawn as often as items are acted on: only rare negatives teach only popularity
    exclude_seen: bool = False  # True for logs without repeat consumption, where "unseen" would leak the label

    def __post_init__(self) -> None:
        if self.count < 0 or not 0.0 <= self.popular <= 1.0:
            raise ValueError(f"{self.count} negatives, {self.popular} of them popular: wanted 0 or more, 0 to 1")


@dataclass(frozen=True)
class RankingExample:
    """One request with its labels."""

    user_key: int
    state: UserState  # strictly before now_ms
    now_ms: int
    candidates: Keys  # (N,) those acted on first
    labels: Floats  # (N, heads)


def ranking_examples(
    log: EventLog,
    heads: Heads,
    offline: OfflineFeatures,
    negatives: NegativesConfig,
    rng: np.random.Generator,
    *,
    since_ms: int = 0,
    limit: int = DEFAULT_LIMIT,
) -> list[RankingExample]:
    """Return a request for every time from ``since_ms`` on at which a user acted, user by user, oldest first.

    Actions before ``since_ms`` only fill the states; ``limit`` is how many a history holds.
    """
    labels_of = head_labels(log, heads)
    items, packed = log.item_keys, packed_actions(log)
    sampler = _Negatives(items, negatives, rng)
    examples = []
    for user_key, rows in rows_by_user(log):
        state, seen = UserState(History(b"", limit)), set[int]()
        for now in np.split(rows, np.flatnonzero(np.diff(log.times_ms[rows])) + 1):
            now_ms = int(log.times_ms[now[0]])
            if now_ms >= since_ms:
                acted, labels = acted_on(items[now], labels_of[log.actions[now]])
                drawn = sampler.draw(set(acted.tolist()), seen)
                candidates = np.concatenate([acted, drawn])
                labels = np.concatenate([labels, np.zeros((len(drawn), labels.shape[1]), np.float32)])
                examples.append(RankingExample(user_key, state, now_ms, candidates, labels))
            state = advanced(state.apply([packed[row] for row in now], int(now.max())), offline)
            seen.update(items[now].tolist())
    return examples


def advanced(applied: Applied, offline: OfflineFeatures) -> UserState:
    """Return the state after a batch of actions, its recurrent state stepped over the sessions that ended."""
    return fold_ended({0: applied}, offline)[0] if applied.ended else applied.state


def acted_on(items: Keys, labels: Floats) -> tuple[Keys, Floats]:
    """Return each item once, with all that was done to it at this time."""
    if len(items) == 1:
        return items, labels
    unique, which = np.unique(items, return_inverse=True)
    together = np.zeros((len(unique), labels.shape[1]), np.float32)
    np.maximum.at(together, which, labels)
    return unique, together


class _Negatives:
    """Draws items that were not acted on, some uniformly, some as often as the log's users act on them."""

    def __init__(self, items: Keys, config: NegativesConfig, rng: np.random.Generator) -> None:
        self.config = config
        self._rng = rng
        self.acted_on = items  # one entry an action: drawing from it is drawing by popularity
        self._items = np.unique(items)

    def draw(self, acted: set[int], seen: set[int]) -> Keys:
        """Return up to ``count`` items, each once, none acted on now, none seen before if those are excluded."""
        taken = acted | seen if self.config.exclude_seen else set(acted)
        drawn: list[int] = []
        for key in self._proposed(4 * self.config.count):
            if len(drawn) == self.config.count:
                break
            if key not in taken:
                drawn.append(key)
                taken.add(key)
        return np.array(drawn, np.uint64)

    def _proposed(self, count: int) -> list[int]:
        if not len(self._items):
            return []
        popular = self._rng.random(count) < self.config.popular
        by_action = self.acted_on[self._rng.integers(0, len(self.acted_on), count)]
        evenly = self._items[self._rng.integers(0, len(self._items), count)]
        return list(np.where(popular, by_action, evenly).tolist())


def joined(examples: Sequence[RankingExample], offline: OfflineFeatures) -> RankerBatch:
    """Join examples into one batch."""
    if isinstance(offline.sessions, TorchSessions):
        offline.sessions.prepare([session_inputs(one, offline) for one in examples])
    return collate([inputs_of(one, offline) for one in examples], [one.labels for one in examples])


def inputs_of(example: RankingExample, offline: OfflineFeatures) -> ModelInputs:
    """Return what the ranker sees of an example, by the join that serves."""
    user = view_user(example.state, example.user_key, example.now_ms, offline.users)
    return join(user, example.candidates, offline)


def session_inputs(example: RankingExample, offline: OfflineFeatures) -> SessionInputs:
    """Return what the join will pass to the session encoder."""
    tail, encoder = example.state.tail, offline.sessions
    actions = known_actions(example.state.history.columns(), example.now_ms)
    closed, opened = pool_sessions(sessions_now(tail, actions, example.now_ms), offline.items)
    return tail.recurrent(encoder.tag, encoder.state_size), closed, opened
