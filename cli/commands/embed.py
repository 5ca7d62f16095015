"""`rankstream embed`: the daily batch job: vectors of users and of new items, item counts, and users' interests."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from rankstream.bundles.item_counts import NotCountableError
from rankstream.cli.errors import Refusal, needing_torch, refusing
from rankstream.cli.options.logs import log_options, time_option
from rankstream.cli.options.versions import keep_option
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.skipped import print_notes
from rankstream.evaluation.time_text import time_text
from rankstream.events.ids import plain_ids
from rankstream.events.open import LogOptions
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import CURRENT
from rankstream.features.item_counts.files import is_counting
from rankstream.retrieval.index.choice import index_version
from rankstream.streams.pipeline import wall_clock_ms

if TYPE_CHECKING:  # torch is imported only where it is needed
    from rankstream.events.log import EventLog
    from rankstream.models.recipes.run_folder import TrainedModels
    from rankstream.models.users.pinnersage import FoundInterests


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--from", "run", type=click.Path(path_type=Path), required=True, help="Folder that `train` wrote.")
@click.option("--to", "table", type=click.Path(path_type=Path), help="Table to publish.  [default: FROM/vectors/users]")
@click.option(
    "--counts-to", "counts_root", type=click.Path(path_type=Path),
    help="Folder of item counts to publish into.  [default: FROM/item_counts]",
)  # fmt: skip
@click.option(
    "--items-to", "items_root", type=click.Path(path_type=Path),
    help="Table of item vectors to publish into.  [default: FROM/vectors/items]",
)  # fmt: skip
@click.option(
    "--interests-to", "interests_root", type=click.Path(path_type=Path),
    help="Folder of users' interests to publish into.  [default: none are found]",
)  # fmt: skip
@click.option(
    "--items", "catalogue_path", type=click.Path(path_type=Path),
    help="What items are: a file, or a catalogue's folder. New ones get a vector before anybody acts on them.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="Encode all users, also those without an action since the last table.")
@time_option("--as-of", help="As-of time: nothing later is read.  [default: LOG's newest action, at most now]")
@keep_option(at_least=1)
@log_options
@json_option
def command(
    log: Path,
    run: Path,
    table: Path | None,
    counts_root: Path | None,
    items_root: Path | None,
    interests_root: Path | None,
    catalogue_path: Path | None,
    full: bool,
    as_of: int | None,
    keep: int,
    log_options: LogOptions,
    as_json: bool,
) -> None:
    """Refresh the batch user vectors, the vectors of new items, and the item counts.

    Encodes users who acted since the last table and publishes a new version of it, in which all others keep their
    vectors to the bit. Where there is no table yet, or one of another model, all users are encoded. Items that came
    after the training are placed where the items beside them in users' sequences are; all others keep their vectors to
    the bit, and so do those that `rankstream vectors import` added, until users act on them. With `--items` also those
    that nobody has acted on are placed, by what they are (category, group, collections, words, year), and a ranker
    that was trained with `--items` sees what all new items are, before the next training. What is counted of items
    (popularity, what goes together) is counted anew, as of the same time. LOG must hold the whole histories of the
    users, not the last day alone: give the folder in which each day's file lies, for example.
    With `--interests-to` the interests of all users are found, too: items that stand for clusters of what they liked.
    Workers started with `--user-vectors`, `--item-vectors`, `--item-counts` and `--interests` on the folders follow
    within seconds, without a restart.
    Needs torch: pip install "rankstream[train]".

    \b
    Reads:  LOG, FROM/work, the items
    Writes: a new version in the table's folder, and one in those of the item
            vectors, the item counts and the interests

    \b
    Examples:
      rankstream embed actions/ --from run
      rankstream embed actions/ --from run --items catalogue
    """
    with needing_torch():
        from rankstream.cli.options.event_logs import read_events
        from rankstream.cli.options.items import read_catalogue
        from rankstream.events.arrivals import LogError
        from rankstream.events.sequences import histories_of
        from rankstream.features.embeddings.files import BrokenTableError
        from rankstream.models.ranker.training_join import to_float16
        from rankstream.models.recipes.run_folder import load_models
        from rankstream.models.recipes.train import publish_item_counts, publish_item_vectors
        from rankstream.models.training.checkpoints import WeightsRefusedError
        from rankstream.models.users.refresh import is_of_model, refresh, refresh_active
    root, clock_ms = table or run / "vectors" / "users", wall_clock_ms()
    if as_of is not None and as_of > clock_ms:
        raise Refusal(f"--as-of {time_text(as_of)} is still to come; every later table would be older than this one")
    with refusing(LogError, BrokenTableError, WeightsRefusedError):
        models = load_models(run / "work")
        model, items = models.pinnerformer, to_float16(models.item_table)
        events, _ = read_events(log, log_options, models.about.vocabulary)
        now_ms = min(int(events.times_ms[-1]), clock_ms) if as_of is None else as_of
        active = not full and is_of_model(root, model)
        if active and (last_ms := EmbeddingTable.open(root).as_of_ms) > clock_ms:
            print_notes(
                (f"the table in {root} is as of {time_text(last_ms)}, which is still to come: all users are new",)
            )
            active = False
        job = refresh_active if active else refresh
        histories = histories_of(events, model.config.num_actions)
        done = job(model, items, histories, root, as_of_ms=now_ms, keep=keep, erased=events.erasures.users)
        table_root = items_root or run / "vectors" / "items"
        catalogue = None if catalogue_path is None else read_catalogue(catalogue_path, events)
        if catalogue is not None and catalogue.as_of_ms > now_ms:
            print_notes((f"the item vectors are as of {time_text(catalogue.as_of_ms)}, as {catalogue_path} is",))
        with refusing(ValueError):
            added = publish_item_vectors(models, events, table_root, now_ms, keep, index_version, catalogue)
        counts, served, counts_root = None, models.item_table, counts_root or run / "item_counts"
        if (table_root / CURRENT).exists():
            served = known_items(EmbeddingTable.open(table_root))
        try:
            if is_counting(counts_root):
                raise NotCountableError(f"`rankstream count` publishes newer ones into {counts_root} all the time")
            counts = publish_item_counts(models, events, counts_root, now_ms, keep, served)
        except NotCountableError as exc:
            print_notes((f"no item counts are published: {exc}",))
        interests = None
        if interests_root is not None:
            interests = _find_interests(models, items, events, interests_root, now_ms, keep)
    if as_json:
        beside = {"item_vectors": asdict(added), "item_counts": counts, "as_of_ms": now_ms}
        print_json(asdict(done) | beside | {"interests": None if interests is None else interests.folder})
        return
    who = "users who acted since the last table" if active else "all users"
    where = f"published {done.folder}" if done.folder else f"nothing new by {time_text(now_ms)}, the table stays"
    click.echo(f"{where}: {done.users:,} {who} encoded, {done.kept:,} kept, {done.unknown:,} without a known item")
    new = f"published {added.folder}" if added.folder else "no new item, the item vectors stay"
    described = f", {added.described:,} of these by what they are" if added.described else ""
    click.echo(f"{new}: {added.items:,} items, {added.added:,} of them newer than the training{described}")
    if counts is not None:
        click.echo(f"published {counts}: what is counted of {len(served):,} items until {time_text(now_ms)}")
    if interests is not None:
        told = f"{interests.interests:,} interests of {interests.users:,} users, {interests.unknown:,} without any"
        click.echo(f"published {interests.folder}: {told}")


def known_items(table: EmbeddingTable) -> ItemTable:
    """Return the items of a table, without their vectors: to count them."""
    ids = plain_ids(table.ids(np.arange(len(table))))
    return ItemTable(ids, np.zeros((len(ids), 0), np.float32))


def _find_interests(
    models: "TrainedModels", items: ItemTable, log: "EventLog", root: Path, as_of_ms: int, keep: int
) -> "FoundInterests":
    """Publish the interests that the log's users show by what serving takes for positive feedback."""
    with needing_torch():  # an installation of before has no scipy
        from rankstream.events.sequences import histories_of
        from rankstream.models.users.pinnersage import PinnerSageConfig, find_interests
        from rankstream.retrieval.sources.recent_likes import polarity_of, positive_actions
    liked = partial(positive_actions, polarity=polarity_of(models.about.vocabulary, models.about.utility))
    return find_interests(
        items, histories_of(log, len(log)), liked, root,
        item_space=models.item_space, as_of_ms=as_of_ms, config=PinnerSageConfig(), keep=keep,
    )  # fmt: skip
