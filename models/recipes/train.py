"""A whole training: from a log to encoders, the ranker on top of them, a bundle and a table of user vectors."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from rankstream.bundles.item_counts import NotCountableError
from rankstream.bundles.manifest import Manifest
from rankstream.content.catalogue import Catalogue
from rankstream.events.log import EventLog
from rankstream.events.sequences import histories_of
from rankstream.features.attributes.table import ItemAttributes, no_attributes
from rankstream.features.described import DescribedItems
from rankstream.features.embeddings.additions import Additions, publish_additions
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.embeddings.table import table_of
from rankstream.features.ids import Keys, id_keys
from rankstream.features.item_counts.files import publish_counts
from rankstream.features.join import HOUR_MS
from rankstream.features.profiles import UserProfiles, no_profiles
from rankstream.models.items.attributes import attributes_of_new, item_attributes
from rankstream.models.items.described import Described, described_items
from rankstream.models.items.fold_in import folded_in
from rankstream.models.items.item_counts import item_counts
from rankstream.models.ranker.calibration import as_plain
from rankstream.models.ranker.training_join import counting_interval_ms, share_of_new, to_float16
from rankstream.models.recipes.bundle import BundleRecipe
from rankstream.models.recipes.cut import check_learnable, cut_between, note_on_cut
from rankstream.models.recipes.encoders import EncoderRecipe, brought_up_to_date, finished, train_encoders
from rankstream.models.recipes.export import export_models
from rankstream.models.recipes.on_top import train_on_top
from rankstream.models.recipes.run_folder import RunMetadata, TrainedModels, lock_run, save_models
from rankstream.models.training.distributed import team
from rankstream.models.training.time_limit import TimeLimit
from rankstream.models.users.refresh import Refreshed, refresh

HOURLY = (
    "note: {new:.0%} of what was shown had come within a day, so the ranker learns from items counted by the hour; "
    "serve it with counts as fresh, by `rankstream count`"
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
    catalogue: Catalogue | None = None,
) -> Trained:
    """Train on the whole log, write ``bundle`` and publish ``user_vectors`` as of its end; weights stay in ``work``."""
    models = train_models(log, recipe, work, progress=progress, catalogue=catalogue)
    manifest = export_models(models, bundle)
    return Trained(manifest, publish_users(models, log, user_vectors))


def train_models(
    log: EventLog,
    recipe: BundleRecipe,
    work: Path,
    *,
    until_ms: int | None = None,
    seconds: float = inf,
    progress: Progress | None = None,
    device: torch.device | None = None,
    catalogue: Catalogue | None = None,
    profiles: UserProfiles | None = None,
) -> TrainedModels:
    """Train all models on what the log holds before ``until_ms`` (its end) and keep them in ``work``.

    With a ``catalogue`` the ranker sees what items are, with ``profiles`` what users are, and keeps both as they are
    now.
    A run that was stopped continues from its checkpoints. Raises ``LogError`` for a log with nothing to learn from,
    ``OtherRunError`` if ``work`` holds another training, ``OutOfTimeError`` after so many ``seconds``.
    """
    deadline = time.monotonic() + seconds
    until_ms = log.time_at(1.0) if until_ms is None else until_ms
    past, _ = log.split_at(until_ms)
    check_learnable(past, recipe.encoders)
    since_ms = cut_between(past, recipe)
    if since_ms is None:
        recipe = replace(recipe, encoders=replace(recipe.encoders, matched=()))
    note = note_on_cut(past, recipe, since_ms)
    if progress is not None and note is not None:
        progress.console.print(note, style="yellow" if since_ms is None else None, highlight=False, soft_wrap=True)
    every_ms = counting_interval_ms(past)
    if progress is not None and every_ms == HOUR_MS:
        progress.console.print(HOURLY.format(new=share_of_new(past)), highlight=False, soft_wrap=True)
    attributes = _attributes(catalogue, past, since_ms, recipe.encoders)
    profiles = no_profiles() if profiles is None else profiles
    if team().writes:
        lock_run(work, past, recipe, attributes, profiles)
    with threads(recipe.threads):
        encoders = train_encoders(
            past,
            until_ms if since_ms is None else since_ms,
            recipe.encoders,
            work,
            seconds=seconds,
            progress=progress,
            device=device,
        )
        encoders = replace(encoders, attributes=attributes, profiles=profiles)
        trained = train_on_top(
            past,
            encoders,
            recipe,
            work,
            progress,
            since_ms=since_ms or 0,
            limit=None if seconds == inf else TimeLimit(deadline - time.monotonic()),
            device=device,
        )
        finished("The ranker", trained.history, recipe.ranker.training.fit)
    encoders = brought_up_to_date(encoders, past, recipe.encoders)
    models = TrainedModels(
        RunMetadata(
            vocabulary=log.vocabulary,
            heads={name: tuple(actions) for name, actions in recipe.ranker.heads.items()},
            utility=dict(recipe.ranker.utility),
            positives=recipe.encoders.positives,
            negatives=recipe.encoders.negatives,
            exclude_seen=recipe.encoders.exclude_seen,
            until_ms=until_ms,
            actions=len(past),
            feature_names=encoders.feature_names,
            metrics={
                "validation_user_recall_at_10": encoders.pinnerformer_history.validated,
                "validation_session_recall_at_10": encoders.hiertcn_history.validated,
                "validation_auc" if recipe.ranker.impressions else "validation_ndcg_at_10": trained.history.validated,
                **({"validation_ndcg_at_10_by_column": dict(trained.by_column)} if trained.by_column else {}),
                **({"calibration": as_plain(trained.calibration)} if trained.calibration else {}),
                **({"users_without_actions": asdict(trained.strangers)} if trained.strangers else {}),
            },
            impressions=recipe.ranker.impressions,
            calibrated=tuple(trained.calibration),
            matched=recipe.encoders.matched,
            rates=recipe.encoders.rates,
            lists=past.impressions is not None,
            counted_every_ms=every_ms,
            newcomers=past.impressions is not None,
        ),
        encoders.item_table,
        encoders.features,
        encoders.matches,
        encoders.pinnerformer,
        encoders.hiertcn,
        trained.ranker.cpu(),
        attributes,
        profiles,
    )
    if team().writes:
        save_models(models, work)
    return models


def _attributes(
    catalogue: Catalogue | None, past: EventLog, since_ms: int | None, recipe: EncoderRecipe
) -> ItemAttributes:
    """Return what items are, with how often their labels are acted on before the ranker's requests."""
    if catalogue is None or since_ms is None:
        return no_attributes()
    return item_attributes(catalogue, past.split_at(since_ms)[0], recipe.negatives)


def publish_users(models: TrainedModels, log: EventLog, root: Path) -> Refreshed:
    """Publish the vectors of the log's users as of the training's end."""
    items = to_float16(models.item_table)
    histories = histories_of(log.split_at(models.about.until_ms)[0], models.pinnerformer.config.num_actions)
    return refresh(models.pinnerformer, items, histories, root, as_of_ms=models.about.until_ms - 1)


def publish_item_vectors(
    models: TrainedModels,
    log: EventLog,
    root: Path,
    as_of_ms: int,
    keep: int,
    prepare: Callable[[Path], object] | None = None,
    catalogue: Catalogue | None = None,
) -> Additions:
    """Publish the training's item vectors to the bit, and beside them those of items that came later.

    An item that users acted on stands where those beside it do (``fold_in.py``); one that they did not, where a
    ``catalogue`` says that it belongs (``described.py``), and what new items are goes with them. An item of which
    neither is known has no vector yet. Training again would make another space, whose vectors the ranker was not
    trained on.
    """
    trained, found = models.item_table, folded_in(models.item_table, log.split_at(as_of_ms + 1)[0])
    placed = len(trained) + np.flatnonzero(np.any(found.vectors[len(trained) :], axis=1))
    ids, vectors, described = [found.ids[row] for row in placed], found.vectors[placed], None
    if catalogue is not None:
        as_of_ms = max(as_of_ms, catalogue.as_of_ms)  # no replay of before it may see it
        by_content, described = _described(models, catalogue, id_keys([*trained.ids.tolist(), *ids]), as_of_ms)
        ids, vectors = [*ids, *by_content.ids], np.concatenate([vectors, by_content.vectors])
    base = table_of(trained.ids.tolist(), trained.vectors, space=models.item_space, as_of_ms=as_of_ms)
    return publish_additions(
        root, base, ids, vectors, as_of_ms=as_of_ms, keep=keep, prepare=prepare, described=described
    )


def _described(
    models: TrainedModels, catalogue: Catalogue, placed: Keys, as_of_ms: int
) -> tuple[Described, DescribedItems]:
    """Return the vectors of the catalogue's items that are not ``placed`` yet, and what new items are.

    Raises ``ValueError`` for a training with a catalogue that did not keep what its labels are.
    """
    is_placed = np.isin(catalogue.keys, placed)
    found = described_items(catalogue, models.item_table, models.features, is_placed, as_of_ms)
    attributes = attributes_of_new(catalogue, models.attributes) if len(models.attributes) else None
    return found, DescribedItems.of(id_keys(found.ids), attributes, found.features)


def publish_item_counts(
    models: TrainedModels, log: EventLog, root: Path, as_of_ms: int, keep: int, items: ItemTable | None = None
) -> Path:
    """Publish what the log says of ``items``, the training's by default, as of a time; return the version's folder.

    Raises ``NotCountableError`` for a training that did not keep how, and as ``item_counts`` does.
    """
    recipe = models.counts_recipe
    if recipe is None:
        raise NotCountableError("the training did not keep how its items were counted; train again with this version")
    return publish_counts(root, item_counts(log, items or models.item_table, recipe, as_of_ms), keep)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
