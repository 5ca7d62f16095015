"""From a log to what a worker serves: encoders, the ranker on top of them, a bundle and a table of user vectors.

The encoders are frozen first (``recipe.py``). The ranker then sees in training what it will see when it serves: user
vectors as the last daily refresh left them, session vectors and histories of the very moment::

    day      |      1       |      2       |      3       |
    actions    a b            c d            e
    user vector of a request   as of day 2    as of day 3       never of the request's own day
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from xxhash import xxh3_64_hexdigest

from features.actions import ActionColumns
from features.embeddings import EmbeddingTable
from features.ids import Id, id_key
from features.join import DAY_MS, Joinable, VectorTable, tail
from features.manifest import Manifest
from features.schema import FeatureSizes, Floats
from models.datasets.base import EventLog
from models.export import Purpose, Vectors, export_bundle
from models.pinnerformer import PinnerFormer
from models.ranker import Ranker, RankerConfig
from models.ranker_data import NegativesConfig, RankingExample, ranking_examples
from models.recipe import EncoderRecipe, TrainedEncoders, train_encoders
from models.refresh import Refreshed, encode, histories_of, refresh, user_space
from models.session_encoder import TorchSessions
from models.timelines import Catalogue
from models.train import FitConfig
from models.train_ranker import RankerTraining, train_ranker
from models.transact import TransActConfig
from models.weights import fingerprint


@dataclass(frozen=True)
class RankerRecipe:
    """Sizes and times of the ranker for a small log on two cores; larger logs want the papers' sizes."""

    heads: Mapping[str, Sequence[str]]  # what is predicted -> the actions any of which makes it true
    utility: Mapping[str, float]  # weight of each head in the score
    num_actions: int = 20  # newest actions seen; 100 in the paper
    action_dim: int = 8  # 32
    recent_outputs: int = 4  # K; 10
    mask_window_ms: int = 10 * 60_000  # 24 h: in logs of one sitting that would hide everything
    cross_rank: int | None = 32  # full
    mlp: tuple[int, ...] = (64, 32)
    negatives: NegativesConfig = field(default_factory=lambda: NegativesConfig(count=8, avoid_seen=True))
    training: RankerTraining = field(
        default_factory=lambda: RankerTraining(
            requests=32, fit=FitConfig(steps=320, learning_rate=3e-3, evaluate_every=160)
        )
    )
    seed: int = 0


@dataclass(frozen=True)
class BundleRecipe:
    """All that is to be decided before training."""

    encoders: EncoderRecipe
    ranker: RankerRecipe
    threads: int = 1  # of torch; models this small lose by a second one: 226 CPU-seconds for what takes 41 with one


MOVIELENS = BundleRecipe(
    EncoderRecipe(positives=("click", "save"), negatives=("hide",)),
    RankerRecipe(
        heads={"save": ("save",), "click": ("click", "save"), "view": ("view", "click", "save"), "hide": ("hide",)},
        utility={
            "click": 1.0,
            "save": 0.25,
            "view": 0.25,
            "hide": -0.25,
        },  # what the demo asks for first: a click or more
    ),
)


@dataclass(frozen=True)
class Trained:
    """What the recipe made."""

    manifest: Manifest
    refreshed: Refreshed


def train_bundle(
    log: EventLog,
    recipe: BundleRecipe,
    bundle: Path,
    user_vectors: Path,
    work: Path,
    *,
    progress: Progress | None = None,
) -> Trained:
    """Train on the whole log, write ``bundle`` and publish ``user_vectors`` as of its end; weights stay in ``work``."""
    until_ms = log.time_at(1.0)
    with threads(recipe.threads):
        encoders = train_encoders(log, until_ms, recipe.encoders, work, progress=progress)
        ranker, ndcg = train_on_top(log, encoders, recipe, work, progress)
    space = f"items-{fingerprint_of(encoders.catalogue.vectors)}"
    purpose = Purpose(
        model_version=version_of(ranker, space, recipe.ranker.utility),
        vocabulary=log.vocabulary,
        utility=recipe.ranker.utility,
        user_space=user_space(encoders.pinnerformer),
        trained_until_ms=until_ms,
        metrics={"trained_on_actions": len(log), "validation_ndcg_at_10": ndcg, "features": encoders.feature_names},
    )
    ids = encoders.catalogue.ids.tolist()
    manifest = export_bundle(
        bundle,
        ranker,
        Vectors(ids, encoders.catalogue.vectors, space),
        Vectors(ids, encoders.features, "item-features"),
        purpose,
        hiertcn=encoders.hiertcn,
        pinnerformer=encoders.pinnerformer,
    )
    items = EmbeddingTable.open(bundle / "items")
    histories = histories_of(log, encoders.pinnerformer.config.num_actions)
    return Trained(manifest, refresh(encoders.pinnerformer, items, histories, user_vectors, as_of_ms=until_ms))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this many threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_on_top(
    log: EventLog, encoders: TrainedEncoders, recipe: BundleRecipe, work: Path, progress: Progress | None = None
) -> tuple[Ranker, float]:
    """Train the ranker on frozen encoders; give it and its best NDCG@10 on the last tenth of the requests."""
    chosen = recipe.ranker
    batch = joinable(log, encoders, chosen.num_actions)
    chance = np.random.default_rng(chosen.seed)
    examples = [as_of_its_day(one) for one in ranking_examples(log, chosen.heads, batch, chosen.negatives, chance)]
    examples.sort(key=lambda one: one.now_ms)
    held_out = examples[-max(1, len(examples) // 10) :]
    kept = chance.permutation(len(held_out))[:MOST_VALIDATED]
    transact = TransActConfig(
        num_types=len(log.vocabulary.actions),
        item_dim=encoders.catalogue.dim,
        action_dim=chosen.action_dim,
        recent_outputs=chosen.recent_outputs,
        mask_window_ms=chosen.mask_window_ms,
    )
    config = RankerConfig(transact, batch.sizes, tuple(chosen.heads), cross_rank=chosen.cross_rank, mlp=chosen.mlp)
    ranker, history = train_ranker(
        config,
        chosen.training,
        examples[: -len(held_out)],
        [held_out[at] for at in kept],
        batch,
        checkpoints=work / "checkpoints" / "ranker",
        progress=progress,
    )
    return ranker, history.best_metric


MOST_VALIDATED = 150  # requests; more would take longer than they tell


def joinable(log: EventLog, encoders: TrainedEncoders, num_actions: int) -> Joinable:
    """Give the batch side of the join for training: user vectors are found by user and day (``as_of_its_day``)."""
    catalogue = encoders.catalogue
    sizes = FeatureSizes(
        num_actions=num_actions,
        item_dim=catalogue.dim,
        user_dim=encoders.pinnerformer.config.user_dim,
        session_dim=encoders.hiertcn.config.session_dim,
        item_features=encoders.features.shape[1],
    )
    items = halved(catalogue)
    features = halved(Catalogue(catalogue.ids, encoders.features))
    users = daily_vectors(encoders.pinnerformer, items, log)
    return Joinable(sizes, items, features, users, TorchSessions(encoders.hiertcn))


def halved(table: Catalogue) -> Catalogue:
    """Give the table as serving will read it: in half precision."""
    return Catalogue(table.ids, table.vectors.astype(np.float16).astype(np.float32))


def daily_vectors(model: PinnerFormer, items: VectorTable, log: EventLog) -> Catalogue:
    """Give each user's vector at the start of each day on which the user acted, of what was done before that day."""
    ids, vectors, _ = encode(model, items, _mornings(log), as_of_ms=int(log.times_ms[-1]) if len(log) else 0)
    return halved(Catalogue(np.array(ids, object), vectors))


def _mornings(log: EventLog) -> Iterator[tuple[Id, ActionColumns]]:
    for user, actions in histories_of(log, limit=len(log)):
        for day in np.unique(actions.times_ms // DAY_MS)[1:].tolist():
            later = int(np.count_nonzero(actions.times_ms >= day * DAY_MS))
            yield user_on_day(id_key(user), day), tail(actions, later)


def user_on_day(user_key: int, day: int) -> str:
    """Name a user as of the start of a day."""
    return f"{user_key}@{day}"


def as_of_its_day(example: RankingExample) -> RankingExample:
    """Let an example look its user up as of the morning of its day."""
    return replace(example, user_key=id_key(user_on_day(example.user_key, example.now_ms // DAY_MS)))


def version_of(ranker: Ranker, space: str, utility: Mapping[str, float]) -> str:
    """Name what is served: other weights, items or utility, another name."""
    return "hybrid-" + xxh3_64_hexdigest(f"{fingerprint(ranker):x} {space} {sorted(utility.items())}".encode())


def fingerprint_of(vectors: Floats) -> str:
    """Name vectors by their bytes."""
    return xxh3_64_hexdigest(np.ascontiguousarray(vectors).tobytes())
