"""From a log to the ranker's training batches, through the same code that serves.

Each time at which a user acted is a request that was made just before it: the state is what the user did strictly
earlier, built by ``UserState.apply``; the candidates are what was acted on, items that match the user's, and items
drawn at random; what the ranker sees of them is made by ``join``. So training can't see what serving would not::

    a user's log     a  b   cc'  d  ...        (c and c' at the same time)
    requests         .  .   |    |
      state                 ab   abcc'         strictly earlier
      candidates            c c' m x y  d n x  labels from the actions; m n match, x y are random, labels 0

Items that match are the rivals that a feed has to order: among random ones a positive is found too easily. Each drawn
item is kept with how often it was to be expected (``log_q``), so that the loss knows how many it stands for.

Requests keep packed states and keys, 2 KB each, until they are joined (``joined.py``). Users are independent of each
other here; the item and user tables must not know the time after the requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rankstream.events.labels import Heads, head_labels
from rankstream.events.log import EventLog
from rankstream.events.sequences import packed_actions, rows_by_user
from rankstream.features.history import DEFAULT_LIMIT, History
from rankstream.features.ids import Keys, id_key
from rankstream.features.join import OfflineFeatures, fold_ended, join, match_user, pool_sessions
from rankstream.features.matches.columns import UserMatches
from rankstream.features.schema import Bools, Floats, Ints, ModelInputs
from rankstream.features.sessions import sessions_now
from rankstream.features.user_state import Applied, UserState
from rankstream.features.user_view import known_actions
from rankstream.models.ranker.hybrid import RankerBatch, collate
from rankstream.models.sessions.torch_encoder import SessionInputs, TorchSessions

STRANGER = id_key("a user of whom nothing is known")


@dataclass(frozen=True)
class NegativesConfig:
    """How candidates that were not acted on are drawn."""

    count: int = 8  # random ones of a request; fewer where the items don't suffice
    matched: int = 16  # of the items that match what the user did
    of_each_list: int = 30  # best items of each list of matches (``UserMatches.proposed``) that these are drawn from
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
    log_q: Floats | None = None  # (N,) log of how often each was to be drawn, 0 for what is there for certain
    surface: int = 0  # code of the surface that the user was on then, 0 for none; of several the greatest
    places: Ints | None = None  # (N,) where each stood in the list that was shown, from 1 on; None where nobody knows
    weights: Floats | None = None  # (N,) of each in the heads' own losses, None: 1; 0 for what was drawn beside a list
    profile_key: int | None = None  # of the user, where ``user_key`` names another: a day's vector, or a stranger


def ranking_examples(
    log: EventLog,
    heads: Heads,
    offline: OfflineFeatures,
    negatives: NegativesConfig,
    rng: np.random.Generator,
    *,
    since_ms: int = 0,
    max_requests: int | None = None,
    only_known: bool = False,
    limit: int = DEFAULT_LIMIT,
) -> list[RankingExample]:
    """Return a request for every time from ``since_ms`` on at which a user acted, user by user, oldest first.

    Of more than ``max_requests`` times so many are drawn. With ``only_known``, items without a vector are no positives:
    they would be the only ones among the candidates, as none is drawn. Actions before ``since_ms`` only fill the
    states; ``limit`` is how many a history holds.
    """
    labels_of = head_labels(log, heads)
    items, surfaces, packed = log.item_keys, log.surface_codes, packed_actions(log)
    sampler = _Negatives(pool_of(log, offline), negatives, rng)
    chosen = _chosen_rows(log, since_ms, max_requests, rng)
    examples = []
    for user_key, rows in rows_by_user(log):
        if not chosen[rows].any():
            continue
        state, seen = UserState(History(b"", limit)), set[int]()
        for now in np.split(rows, np.flatnonzero(np.diff(log.times_ms[rows])) + 1):
            now_ms = int(log.times_ms[now[0]])
            if chosen[now].any():
                acted, labels = acted_on(items[now], labels_of[log.actions[now]])
                if only_known:
                    known = offline.items.look_up(acted)[1]
                    acted, labels = acted[known], labels[known]
                matching = _matching(state, user_key, now_ms, offline, negatives)
                drawn = sampler.draw(set(acted.tolist()), seen, matching)
                surface = int(surfaces[now].max())
                request = RankingExample(user_key, state, now_ms, acted, labels, surface=surface)
                examples.append(_example(request, acted, labels, *drawn))
            state = advanced(state.apply(packed[now].tolist(), int(now.max())), offline)
            seen.update(items[now].tolist())
    return examples


@dataclass(frozen=True)
class NegativePool:
    """What negatives of a log's requests are drawn from; made once, as it sorts all that was acted on."""

    log: EventLog
    acted_on: Keys  # known items, one entry an action: drawing from it is drawing by popularity
    items: Keys  # (n,) each once, sorted
    counts: Ints  # (n,) actions on each

    @cached_property
    def _rows_of(self) -> dict[int, Ints]:
        return dict(rows_by_user(self.log))

    def seen(self, one: RankingExample) -> set[int]:
        """Return the items that the user of a request had acted on before it; nothing of a stranger."""
        rows = self._rows_of.get(one.user_key, np.zeros(0, np.int64))
        before = np.searchsorted(self.log.times_ms[rows], one.now_ms)
        return set(self.log.item_keys[rows[:before]].tolist())


def pool_of(log: EventLog, offline: OfflineFeatures) -> NegativePool:
    """Return the pool of a log's items that have a vector."""
    acted_on = log.item_keys[offline.items.look_up(log.item_keys)[1]]
    return NegativePool(log, acted_on, *np.unique(acted_on, return_counts=True))


def with_negatives(
    examples: Sequence[RankingExample],
    pool: NegativePool,
    offline: OfflineFeatures,
    negatives: NegativesConfig,
    rng: np.random.Generator,
) -> list[RankingExample]:
    """Return requests of the pool's log, which hold nothing but what was acted on, with negatives drawn."""
    sampler = _Negatives(pool, negatives, rng)
    return [_drawn_for(one, pool, sampler, offline) for one in examples]


def beside_lists(
    examples: Sequence[RankingExample],
    pool: NegativePool,
    offline: OfflineFeatures,
    negatives: NegativesConfig,
    rng: np.random.Generator,
) -> list[RankingExample]:
    """Return shown lists with items drawn beside them, which weigh nothing in the heads' own losses.

    What comes of an item that is shown is learned of what was shown alone; that it was chosen from a catalogue, of the
    drawn ones.
    """
    sampler, found = _Negatives(pool, negatives, rng), []
    for one in examples:
        more, shown = _drawn_for(one, pool, sampler, offline), len(one.candidates)
        drawn = len(more.candidates) - shown
        weights = np.concatenate([np.ones(shown, np.float32), np.zeros(drawn, np.float32)])
        places = None if one.places is None else np.concatenate([one.places, np.zeros(drawn, np.int64)])
        found.append(replace(more, weights=weights, places=places))
    return found


def _drawn_for(
    one: RankingExample, pool: NegativePool, sampler: "_Negatives", offline: OfflineFeatures
) -> RankingExample:
    matching = _matching(one.state, one.user_key, one.now_ms, offline, sampler.config)
    seen = pool.seen(one) if sampler.config.exclude_seen else set[int]()
    drawn = sampler.draw(set(one.candidates.tolist()), seen, matching)
    return _example(one, one.candidates, one.labels, *drawn)


def without_actions(examples: Sequence[RankingExample], share: float, rng: np.random.Generator) -> list[RankingExample]:
    """Return a share of the requests, drawn at random, asked as by a user of whom no action is known.

    Of half of them nothing that came of actions is known, of the others the batch vector; of all of them the profile.
    """
    drawn = rng.permutation(len(examples))[: round(share * len(examples))]
    return [_without_actions(examples[row], stranger=at % 2 == 0) for at, row in enumerate(drawn.tolist())]


def _without_actions(one: RankingExample, stranger: bool) -> RankingExample:
    nothing = UserState(History(b"", one.state.history.limit))
    user_key = STRANGER if stranger else one.user_key
    return replace(one, user_key=user_key, state=nothing, profile_key=one.user_key)


def _example(one: RankingExample, acted: Keys, labels: Floats, drawn: Keys, log_q: Floats) -> RankingExample:
    nothing = np.zeros((len(drawn), labels.shape[1]), np.float32)
    return replace(
        one,
        candidates=np.concatenate([acted, drawn]),
        labels=np.concatenate([labels, nothing]),
        log_q=np.concatenate([np.zeros(len(acted), np.float32), log_q]),
    )


def _chosen_rows(log: EventLog, since_ms: int, count: int | None, rng: np.random.Generator) -> Bools:
    """Return the rows of the log at whose times requests are made, ``(n,)``."""
    chosen = log.times_ms >= since_ms
    rows = np.flatnonzero(chosen)
    if count is None or len(rows) <= count:
        return chosen
    fewer = np.zeros(len(log), np.bool_)
    fewer[rng.choice(rows, count, replace=False)] = True
    return fewer


def _matching(
    state: UserState, user_key: int, now_ms: int, offline: OfflineFeatures, negatives: NegativesConfig
) -> Keys:
    """Return the items that match what the user did, as serving would look them up."""
    if not negatives.matched:
        return np.zeros(0, np.uint64)
    return match_user(state, user_key, now_ms, offline).proposed(negatives.of_each_list)


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

    def __init__(self, pool: NegativePool, config: NegativesConfig, rng: np.random.Generator) -> None:
        self.config = config
        self._rng = rng
        self.acted_on, self._items, self._counts = pool.acted_on, pool.items, pool.counts

    def draw(self, acted: set[int], seen: set[int], matching: Keys) -> tuple[Keys, Floats]:
        """Return items ``(n,)``, each once, none acted on now, none seen before if those are excluded, and ``log_q``.

        Up to ``matched`` of the ``matching`` ones, then up to ``count`` random ones of all others.
        """
        taken = acted | seen if self.config.exclude_seen else set(acted)
        left = [key for key in matching.tolist() if key not in taken]
        some = min(self.config.matched, len(left))
        drawn: list[int] = [left[at] for at in self._rng.permutation(len(left))[:some]] if some else []
        taken |= set(left)
        random: list[int] = []
        for key in self._proposed(4 * self.config.count):
            if len(random) == self.config.count:
                break
            if key not in taken:
                random.append(key)
                taken.add(key)
        keys = np.array(drawn + random, np.uint64)
        shares = np.full(len(keys), some / max(1, len(left)))
        shares[some:] = self._shares(keys[some:])
        return keys, np.log(np.maximum(shares, 1e-9)).astype(np.float32)

    def _shares(self, keys: Keys) -> Floats:
        """Return how often each of these is among ``count`` random ones, at most 1."""
        of_actions = self._counts[np.searchsorted(self._items, keys)] / max(1, len(self.acted_on))
        share = self.config.popular * of_actions + (1.0 - self.config.popular) / max(1, len(self._items))
        return np.minimum(1.0, self.config.count * share).astype(np.float32)

    def _proposed(self, count: int) -> list[int]:
        if not len(self._items):
            return []
        popular = self._rng.random(count) < self.config.popular
        by_action = self.acted_on[self._rng.integers(0, len(self.acted_on), count)]
        evenly = self._items[self._rng.integers(0, len(self._items), count)]
        return list(np.where(popular, by_action, evenly).tolist())


def prepare_sessions(examples: Sequence[RankingExample], offline: OfflineFeatures) -> None:
    """Let the session encoder make the vectors of all examples at once: joining them asks for each."""
    if isinstance(offline.sessions, TorchSessions):
        offline.sessions.prepare([session_inputs(one, offline) for one in examples])


def joined(examples: Sequence[RankingExample], offline: OfflineFeatures) -> RankerBatch:
    """Join examples into one batch."""
    prepare_sessions(examples, offline)
    return collate(
        [inputs_of(one, offline) for one in examples],
        [one.labels for one in examples],
        log_q=[one.log_q if one.log_q is not None else np.zeros(len(one.labels), np.float32) for one in examples],
    )


def inputs_of(example: RankingExample, offline: OfflineFeatures) -> ModelInputs:
    """Return what the ranker sees of an example, by the join that serves."""
    return join(matched_user(example, offline), example.candidates, offline, example.surface)


def matched_user(example: RankingExample, offline: OfflineFeatures) -> UserMatches:
    """Return the user who asks, as of the request."""
    one = example
    return match_user(one.state, one.user_key, one.now_ms, offline, profile_key=one.profile_key)


def session_inputs(example: RankingExample, offline: OfflineFeatures) -> SessionInputs:
    """Return what the join will pass to the session encoder."""
    tail, encoder = example.state.tail, offline.sessions
    actions = known_actions(example.state.history.columns(), example.now_ms)
    closed, opened = pool_sessions(sessions_now(tail, actions, example.now_ms), offline.items)
    return tail.recurrent(encoder.tag, encoder.state_size), closed, opened
