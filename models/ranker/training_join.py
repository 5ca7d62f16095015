"""The join as training needs it: user vectors and item counts as the last daily refresh left them.

Nothing of a request's own day is in them, as nothing is when it serves.

::

    day      |      1       |      2       |      3       |
    actions    a b            c d            e
    user vector of a request   as of day 2    as of day 3
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from rankstream.events.log import EventLog
from rankstream.events.sequences import histories_of
from rankstream.features.actions import ActionColumns, Vocabulary
from rankstream.features.attributes.columns import attribute_width
from rankstream.features.attributes.table import ItemAttributes
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import Id, id_key
from rankstream.features.join import DAY_MS, HOUR_MS, OfflineFeatures
from rankstream.features.matches.columns import match_width
from rankstream.features.matches.tables import MatchTables
from rankstream.features.profiles import UserProfiles
from rankstream.features.schema import COUNTED_TYPES, FeatureSizes, Floats, Ints
from rankstream.models.ranker.examples import RankingExample
from rankstream.models.sessions.hiertcn import HierTCN
from rankstream.models.sessions.torch_encoder import TorchSessions
from rankstream.models.users.pinnerformer import PinnerFormer
from rankstream.models.users.refresh import encode

# How many actions all counts of a training read together, and how many counts there are at most. Items' features take
# 0.1 to 0.3 us an action, so that 100,000,000 are a quarter of a minute of one core; match tables take 1 to 6 us.
COUNTED_DAILY, COUNTED_HOURLY, MOST_COUNTS = 100_000_000, 40_000_000, 336  # by the hour match tables are made, too
MATCHED_ACTIONS, MOST_MATCHED = 3_000_000, 12  # of match tables, where items are counted daily
FEWEST_COUNTS = 4
NEW_SHARE = 0.2  # of what was shown, that was new within a day, from which on counts of midnight say too little


class FrozenEncoders(Protocol):
    """What the ranker is trained on top of: ``TrainedEncoders``, or ``TrainedModels`` when they are evaluated."""

    @property
    def item_table(self) -> ItemTable:
        """Return the items."""
        ...

    @property
    def features(self) -> Floats:
        """Return the items' dense features, ``(items, F)``."""
        ...

    @property
    def matches(self) -> MatchTables:
        """Return which items go together."""
        ...

    @property
    def attributes(self) -> ItemAttributes:
        """Return what items are."""
        ...

    @property
    def profiles(self) -> UserProfiles:
        """Return what users are."""
        ...

    @property
    def pinnerformer(self) -> PinnerFormer:
        """Return the encoder of users."""
        ...

    @property
    def hiertcn(self) -> HierTCN:
        """Return the encoder of sessions."""
        ...


def feature_sizes(vocabulary: Vocabulary, encoders: FrozenEncoders, num_actions: int) -> FeatureSizes:
    """Return the widths of all that a new ranker on top of these encoders sees."""
    types = len(vocabulary.actions)
    return FeatureSizes(
        num_actions=num_actions,
        item_dim=encoders.item_table.dim,
        user_dim=encoders.pinnerformer.config.user_dim,
        session_dim=encoders.hiertcn.config.session_dim,
        item_features=encoders.features.shape[1],
        match_features=match_width(types) + attribute_width(encoders.attributes.names) if len(encoders.matches) else 0,
        surfaces=len(vocabulary.surfaces),
        counted_types=min(types, COUNTED_TYPES),
        profile_columns=encoders.profiles.width,
    )


def offline_features(
    log: EventLog, encoders: FrozenEncoders, sizes: FeatureSizes, since_ms: int = 0
) -> OfflineFeatures:
    """Return the offline side of the join for training: user vectors are found by user and day (``as_of_its_day``).

    Only the days from ``since_ms`` on have any. ``sizes`` are a ranker's own, or ``feature_sizes`` for a new one.
    """
    items = to_float16(encoders.item_table)
    features = to_float16(ItemTable(encoders.item_table.ids, encoders.features))
    users = daily_vectors(encoders.pinnerformer, items, log, since_ms)
    sessions = TorchSessions(encoders.hiertcn)
    return OfflineFeatures(
        sizes, items, features, users, sessions, encoders.matches, encoders.attributes, profiles=encoders.profiles
    )


def to_float16(table: ItemTable) -> ItemTable:
    """Return the table as serving will read it: rounded to float16."""
    return replace(table, vectors=table.vectors.astype(np.float16).astype(np.float32))


def daily_vectors(model: PinnerFormer, items: VectorTable, log: EventLog, since_ms: int = 0) -> ItemTable:
    """Return each user's vector at the start of each day on which the user acted, or was shown a list.

    It is of what was done before that day.
    """
    ids, vectors, _ = encode(
        model, items, _histories_by_day(log, since_ms // DAY_MS), as_of_ms=int(log.times_ms[-1]) if len(log) else 0
    )
    return to_float16(ItemTable(np.array(ids, object), vectors))


def _histories_by_day(log: EventLog, first_day: int) -> Iterator[tuple[Id, ActionColumns]]:
    shown_on = _days_shown(log)
    for user, actions in histories_of(log, limit=len(log)):
        acted_on = np.unique(actions.times_ms // DAY_MS)
        days = np.union1d(acted_on, shown_on.get(id_key(user), acted_on))
        days = days[days > acted_on[0]]
        for day in days[days >= first_day].tolist():
            later = int(np.count_nonzero(actions.times_ms >= day * DAY_MS))
            yield user_on_day(id_key(user), day), actions[later:]


def _days_shown(log: EventLog) -> dict[int, Ints]:
    """Return the days on which each user, by key, was shown a list; nothing where the log does not say."""
    if log.impressions is None:
        return {}
    keys, days = log.impressions.user_keys, log.impressions.times_ms // DAY_MS
    order = np.argsort(keys, kind="stable")
    cuts = np.flatnonzero(np.diff(keys[order]) != 0) + 1
    return {int(keys[rows[0]]): days[rows] for rows in np.split(order, cuts) if len(rows)}


def user_on_day(user_key: int, day: int) -> str:
    """Name a user as of the start of a day."""
    return f"{user_key}@{day}"


def as_of_its_day(example: RankingExample) -> RankingExample:
    """Return an example that looks its user up as of the start of its day."""
    day_key = id_key(user_on_day(example.user_key, example.now_ms // DAY_MS))
    profile_key = example.user_key if example.profile_key is None else example.profile_key
    return replace(example, user_key=day_key, profile_key=profile_key)


def counting_times(since_ms: int, asked_ms: Ints, actions: int, every_ms: int = DAY_MS) -> list[int]:
    """Return when items are counted for requests at the times ``asked_ms``, all from ``since_ms`` on.

    That is at ``since_ms``, and at the midnight before each request, as a daily job does; at fewer of these, evenly
    spread, where there are many or the log, of so many ``actions``, is long. With ``every_ms`` of an hour they are
    hours.
    """
    boundaries = np.unique(asked_ms // every_ms) * every_ms
    budget = COUNTED_DAILY if every_ms == DAY_MS else COUNTED_HOURLY
    most = int(np.clip(budget // max(1, actions), FEWEST_COUNTS, MOST_COUNTS))
    return [since_ms, *_spread(boundaries[boundaries > since_ms].tolist(), most - 1)]


def matching_times(counted_ms: Sequence[int], actions: int, every_ms: int = DAY_MS) -> list[int]:
    """Return at which of the ``counting_times`` match tables are made, too: fewer, as they cost ten times as much."""
    if every_ms != DAY_MS:
        return list(counted_ms)
    most = int(np.clip(MATCHED_ACTIONS // max(1, actions), FEWEST_COUNTS, MOST_MATCHED))
    return [counted_ms[0], *_spread(counted_ms[1:], most - 1)]


def _spread(times_ms: Sequence[int], most: int) -> list[int]:
    """Return so many of the times at most, evenly spread."""
    chosen = np.linspace(0, len(times_ms) - 1, min(most, len(times_ms))).round().astype(np.int64)
    return [times_ms[at] for at in chosen.tolist()]


def share_of_new(log: EventLog) -> float:
    """Return which share of what was shown had come within a day: it was neither shown nor acted on before.

    Lists of the first day are left out, as all of them would seem new; 0 where there are no others.
    """
    shown = log.impressions
    if shown is None or not len(shown):
        return 0.0
    times_ms = np.repeat(shown.times_ms, np.diff(shown.starts))
    keys, rows = np.unique(np.concatenate([log.item_keys, shown.item_keys]), return_inverse=True)
    first_ms = np.full(len(keys), np.iinfo(np.int64).max)
    np.minimum.at(first_ms, rows.reshape(-1), np.concatenate([log.times_ms, times_ms]))
    later = times_ms >= times_ms[0] + DAY_MS
    ages_ms = (times_ms - first_ms[rows.reshape(-1)[len(log) :]])[later]
    return float(np.mean(ages_ms < DAY_MS)) if len(ages_ms) else 0.0


def counting_interval_ms(log: EventLog) -> int:
    """Return how often items are counted for a ranker of this log: daily, or hourly where its items come and go.

    What is shown of a day's news was unknown at midnight, so a count of midnight tells it from nothing.
    """
    return HOUR_MS if share_of_new(log) >= NEW_SHARE else DAY_MS
