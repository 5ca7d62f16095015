"""KuaiRand-Pure as the ranker's experiment: which days, which heads, and every request's inputs, made once.

::

    9 .. 24 April          25 April .. 3 May      4, 5 May        6 .. 8 May         (days of Beijing, UTC+8)
    history, no times      training               validation      test
    item vectors, PinnerFormer and HierTCN learn here only: no label of the ranker's training is in them
                           item rates and user vectors of each morning             rates stay as of 4 May

Encoders trained on the ranker's own labels would make features that are better in training than in serving (leakage).
So the encoders learn from the two weeks before, and a day's requests are joined with the tables of its morning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.progress import Progress

from rankstream.events.log import EventLog
from rankstream.events.open import LogOptions, open_log
from rankstream.events.public.kuairand import (
    HEADS,
    NEGATIVES,
    POSITIVES,
    VOCABULARY,
    read_durations,
)
from rankstream.events.registry import read_log
from rankstream.events.sequences import histories_of
from rankstream.experiments.kuairand.request_cache import CachedRequest, RequestCache, write_cache
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_key
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import FeatureSizes, Floats
from rankstream.models.items.cooccurrence import ItemVectorConfig, train_item_vectors
from rankstream.models.items.exposure_rates import ExposureRates, exposure_rates
from rankstream.models.ranker.examples import RankingExample, inputs_of, session_inputs
from rankstream.models.ranker.impressions import by_day, by_either, by_gap, impression_examples
from rankstream.models.ranker.training_join import to_float16
from rankstream.models.sessions import hiertcn_training as hier
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.torch_encoder import GivenSession, TorchSessions, session_vectors
from rankstream.models.training.checkpoints import load_weights, save_weights
from rankstream.models.training.loop import FitConfig
from rankstream.models.users import pinnerformer_training as pinner
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig
from rankstream.models.users.refresh import encode

DAY_MS = 86_400_000
BEIJING_MS = 8 * 3_600_000
TRAIN_MS = 1_650_816_000_000  # 25 April 2022, midnight in Beijing
VALIDATE_MS = TRAIN_MS + 9 * DAY_MS  # 4 May
TEST_MS = TRAIN_MS + 11 * DAY_MS  # 6 May
END_MS = TRAIN_MS + 14 * DAY_MS  # 9 May
BY_SESSION = by_either(by_gap(), by_day(BEIJING_MS))  # also at midnight: no session is of two parts, or of two days
PARTS = {"train": (TRAIN_MS, VALIDATE_MS), "validation": (VALIDATE_MS, TEST_MS), "test": (TEST_MS, END_MS)}

OBSERVED_SINCE_MS = {"click": TRAIN_MS, "skip": TRAIN_MS}  # the history file names only long views and likes

# PinnerFormer learns from the history, which distinguishes only some of the actions.
UNSEEN_TYPES = {"view": "exposed", "skip": "exposed", "hide": "exposed"} | dict.fromkeys(
    ("follow", "comment", "forward", "profile"), "like"
)


@dataclass(frozen=True)
class DataConfig:
    """What the inputs are made of."""

    users: float = 1.0  # share of the users, sampled at random
    num_actions: int = 48  # newest actions that are kept for the encoders; the paper's 100 cost twice as much
    item_dim: int = 32
    user_dim: int = 64
    pinnerformer_steps: int = 800
    hiertcn_steps: int = 300
    seed: int = 0


@dataclass(frozen=True)
class Encoders:
    """The encoders that learned from the history, frozen for the ranker."""

    item_table: ItemTable
    pinnerformer: PinnerFormer
    hiertcn: HierTCN


@dataclass(frozen=True)
class KuaiRand:
    """The log, its encoders, and the offline side of the join as of any morning."""

    log: EventLog
    encoders: Encoders
    config: DataConfig
    durations: dict[int, float] = field(repr=False, default_factory=dict)  # by item id

    @cached_property
    def items(self) -> ItemTable:
        """Return item vectors as serving reads them."""
        return to_float16(self.encoders.item_table)

    @cached_property
    def sessions(self) -> TorchSessions:
        """Return the session encoder; there is one, because it has a cache."""
        return TorchSessions(self.encoders.hiertcn)

    @cached_property
    def rates(self) -> ExposureRates:
        """Count the impressions of the whole log; ``features_at`` uses earlier ones only."""
        return exposure_rates(self.log, self.encoders.item_table, HEADS, OBSERVED_SINCE_MS)

    @cached_property
    def sizes(self) -> FeatureSizes:
        """Return the widths of the inputs."""
        return FeatureSizes(
            num_actions=self.config.num_actions,
            item_dim=self.config.item_dim,
            user_dim=self.config.user_dim,
            session_dim=self.encoders.hiertcn.config.session_dim,
            item_features=len(self.rates.feature_names) + 1,
        )

    def features_at(self, as_of_ms: int) -> Floats:
        """Return item features ``(items, F)`` as of a time, the last one the video's length."""
        lengths = np.array([self.durations.get(int(item), 0.0) for item in self.encoders.item_table.ids], np.float32)
        return np.concatenate([self.rates.as_of(as_of_ms), lengths[:, None]], axis=1)

    def user_vectors_at(self, as_of_ms: int, only: set[int] | None = None) -> ItemTable:
        """Return the table of user vectors that a refresh as of this time publishes; of some users only."""
        past, _ = self.log.split_at(as_of_ms)
        model = self.encoders.pinnerformer
        histories = histories_of(past, model.config.num_actions)
        wanted = histories if only is None else ((user, one) for user, one in histories if id_key(user) in only)
        ids, vectors, _ = encode(model, self.items, wanted, as_of_ms)
        return to_float16(ItemTable(np.array(ids, np.int64), vectors))

    def offline_features_at(self, as_of_ms: int, only: set[int] | None = None) -> OfflineFeatures:
        """Return the offline side of the join as of a morning; item features stay as of the training's end."""
        features = self.features_at(min(as_of_ms, VALIDATE_MS))
        table = to_float16(ItemTable(self.encoders.item_table.ids, features))
        return OfflineFeatures(self.sizes, self.items, table, self.user_vectors_at(as_of_ms, only), self.sessions)

    def stateful(self) -> OfflineFeatures:
        """Return the offline side that building states needs: items and sessions."""
        sizes = self.sizes
        return OfflineFeatures(
            sizes, self.items, NoVectors(sizes.item_features), NoVectors(sizes.user_dim), self.sessions
        )


def morning_of(now_ms: int) -> int:
    """Return the last midnight in Beijing before a time."""
    return (now_ms + BEIJING_MS) // DAY_MS * DAY_MS - BEIJING_MS


def open_kuairand(data: Path, folder: Path, config: DataConfig, progress: Progress | None = None) -> KuaiRand:
    """Read the log and train its encoders in ``folder``, or load those that are there."""
    log = read_log(open_log(data, LogOptions(kind="kuairand")))
    if config.users < 1.0:
        users = np.unique(log.user_ids)
        kept = np.random.default_rng(config.seed).permutation(users)[: max(1, int(config.users * len(users)))]
        log = log.rows(np.isin(log.user_ids, kept))
    videos, lengths = read_durations(data)
    durations = dict(zip(videos.tolist(), lengths.tolist(), strict=True))
    return KuaiRand(log, encoders_of(log, folder, config, progress), config, durations)


def encoders_of(log: EventLog, folder: Path, config: DataConfig, progress: Progress | None = None) -> Encoders:
    """Train item vectors, PinnerFormer and HierTCN on what came before the ranker's training, or load them."""
    past, _ = log.split_at(TRAIN_MS)
    item_table = train_item_vectors(past, ItemVectorConfig(dim=config.item_dim, seed=config.seed), NEGATIVES)
    user_path, session_path = folder / "pinnerformer.pt", folder / "hiertcn.pt"
    if not user_path.exists():
        user_config = PinnerFormerConfig(
            action_types=len(VOCABULARY.actions),
            num_actions=48,
            item_dim=config.item_dim,
            user_dim=config.user_dim,
            hidden=64,
            layers=1,
        )
        training = pinner.PinnerFormerTraining(
            users=64,
            max_held_out=500,
            exclude_seen=False,
            fit=FitConfig(steps=config.pinnerformer_steps, learning_rate=2e-3, evaluate_every=500, seed=config.seed),
        )
        model, _ = pinner.train_pinnerformer(
            past, item_table, POSITIVES, user_config, training, checkpoints=folder / "pinnerformer", progress=progress
        )
        initialise_unseen(model, UNSEEN_TYPES)
        save_weights(user_path, model, user_config)
    if not session_path.exists():
        session_config = HierTCNConfig(item_dim=config.item_dim)
        sessions = hier.HierTCNTraining(
            negatives=400,
            exclude_seen=False,
            max_held_out=500,
            fit=FitConfig(  # evaluated at the end only: without times a session is one impression and has no next item
                steps=config.hiertcn_steps,
                learning_rate=2e-3,
                evaluate_every=config.hiertcn_steps,
                seed=config.seed,
            ),
        )
        trained = hier.train_hiertcn(
            past,
            item_table,
            session_config,
            sessions,
            without=("exposed",),
            checkpoints=folder / "hiertcn",
            progress=progress,
        )
        save_weights(session_path, trained.model, session_config)
    return Encoders(
        item_table,
        load_weights(user_path, PinnerFormer, PinnerFormerConfig),
        load_weights(session_path, HierTCN, HierTCNConfig),
    )


def initialise_unseen(model: PinnerFormer, types: Mapping[str, str]) -> None:
    """Initialise the embeddings of action types that training never saw with those of the most similar types."""
    codes, weights = VOCABULARY.action_codes, model.action_embedding.weight.data
    for unseen, like in types.items():
        weights[codes[unseen]] = weights[codes[like]]


def caches_of(data: Path, folder: Path, config: DataConfig, progress: Progress | None = None) -> dict[str, Path]:
    """Return the folders of the joined requests of training, validation and test; made if they are not there."""
    folders = {part: folder / part for part in PARTS}
    missing = [part for part, one in folders.items() if not RequestCache.is_there(one)]
    if not missing:
        return folders
    world = open_kuairand(data, folder, config, progress)
    found = impression_examples(world.log, HEADS, world.stateful(), since_ms=TRAIN_MS, cut=BY_SESSION)
    examples = sorted(found, key=lambda one: one.now_ms)
    for part in missing:
        start_ms, end_ms = PARTS[part]
        mine = [one for one in examples if start_ms <= one.now_ms < end_ms]
        write_cache(folders[part], _joined_by_day(mine, world, progress, part), world.sizes, tuple(HEADS))
    return folders


def day_lists(cache: RequestCache) -> RequestCache:
    """Return each user's impressions of a day as one request, as of the day's first session."""
    users = np.unique(cache.user_keys, return_inverse=True)[1]
    return cache.merged(users * 100_000 + (cache.now_ms + BEIJING_MS) // DAY_MS)


def _joined_by_day(
    examples: list[RankingExample], world: KuaiRand, progress: Progress | None, title: str, chunk: int = 256
) -> Iterator[CachedRequest]:
    """Join examples with the tables of their mornings."""
    task = None if progress is None else progress.add_task(f"joining {title}", total=len(examples))
    for morning in sorted({morning_of(one.now_ms) for one in examples}):
        today = [one for one in examples if morning_of(one.now_ms) == morning]
        batch = world.offline_features_at(morning, {one.user_key for one in today})
        for at in range(0, len(today), chunk):
            some = today[at : at + chunk]
            vectors = session_vectors(world.encoders.hiertcn, [session_inputs(one, batch) for one in some])
            for one, vector in zip(some, vectors, strict=True):
                known = replace(batch, sessions=GivenSession(world.sessions.tag, world.sessions.state_size, vector))
                inputs = inputs_of(one, known)
                yield CachedRequest(inputs, one.labels, one.user_key, one.now_ms, one.candidates)
            if progress is not None and task is not None:
                progress.update(task, advance=len(some))


def half(config: DataConfig) -> DataConfig:
    """Return the middle size: every second user."""
    return replace(config, users=0.5, num_actions=16, pinnerformer_steps=500, hiertcn_steps=200)


def small(config: DataConfig) -> DataConfig:
    """Return the small size: one user of 25, encoders trained for seconds."""
    return replace(config, users=0.04, num_actions=12, pinnerformer_steps=100, hiertcn_steps=50)
