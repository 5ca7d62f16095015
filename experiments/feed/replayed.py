"""Rankers driven through the product's own replay: the same queries, the same code, for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from rankstream.evaluation.leakage import check_bundle, check_table
from rankstream.evaluation.point_in_time import LiveRankerAsOf
from rankstream.evaluation.replay.counts import counts_by_default
from rankstream.evaluation.replay.outcomes_file import write_outcomes
from rankstream.evaluation.replay.plan import one_vocabulary, user_vectors
from rankstream.evaluation.replay.run import Plan, replay
from rankstream.evaluation.replay.variants import DelayedPipeline, ReplayError, Variant
from rankstream.events.impressions import Impressions
from rankstream.events.kept_actions import KeptActions
from rankstream.experiments.feed.product import Product
from rankstream.experiments.feed.task import Task
from rankstream.experiments.progress import shown
from rankstream.features.embeddings.base import NoVectors
from rankstream.ranking.backends.base import Backend
from rankstream.ranking.bundle import Bundle, open_bundle
from rankstream.ranking.serving import ranker_of
from rankstream.streams.settings import Settings

SCORE = "score"  # the one head of a backend that stands in for a bundle's own


def variant_of(
    name: str,
    product: Product,
    from_ms: int,
    lists: Impressions | None = None,
    *,
    delay_ms: int | None = 0,
    backend: Backend | None = None,
) -> Variant:
    """Open a bundle with its user vectors, with another ``backend`` (of one head) in place of its ranker if given.

    Its item counts are made anew each night, as replay does by default; ``lists`` is what the log says was shown.
    Raises ``LeakError`` for one that has seen what it is tested on.
    """
    bundle = open_bundle(product.bundle)
    if backend is not None:
        bundle = scored_by(backend, bundle)
    check_bundle(bundle.manifest, from_ms)
    check_table(bundle.items, from_ms, name=f"the items of {name}")
    as_of, _ = user_vectors(product.users, bundle, from_ms, allow_leak=False)
    nobody = NoVectors(bundle.manifest.sizes.user_dim)
    serving = LiveRankerAsOf(bundle.manifest.vocabulary, ranker_of(bundle, nobody))
    counts = counts_by_default(bundle, KeptActions(bundle.manifest.vocabulary, lists))
    return Variant(name, bundle, as_of, DelayedPipeline(serving, delay_ms, Settings().history_limit), counts)


def scored_by(backend: Backend, bundle: Bundle) -> Bundle:
    """Return a bundle whose feeds are ordered by the one score of a backend; states, tables and join stay its own."""
    manifest = msgspec.structs.replace(bundle.manifest, heads=(SCORE,), utility={SCORE: 1.0})
    return replace(bundle, manifest=manifest, backend=backend)


def replay_products(task: Task, products: Mapping[str, Product], queries: int, seed: int, path: Path) -> None:
    """Replay bundles beside the baselines, and write the outcomes; nothing is done where they are there."""
    if path.exists():
        return
    variants = [variant_of(name, product, task.cut_ms, task.log.impressions) for name, product in products.items()]
    if one_vocabulary([variant.bundle for variant in variants]) != task.opened.vocabulary:
        raise ReplayError(f"{', '.join(products)} know other actions than {task.opened.name}; train on that log")
    replay_to(path, task, task.plan(queries, seed), variants)


def replay_to(path: Path, task: Task, plan: Plan, variants: Sequence[Variant] = ()) -> None:
    """Replay the task's log by a plan, and write the outcomes."""
    with shown() as progress:
        bar = progress.add_task(path.stem, total=plan.max_queries)

        def show(events: int, ranked: int) -> None:
            progress.update(bar, completed=ranked, description=f"{path.stem}: {events:,} events, {ranked:,} queries")

        result = replay(task.opened, variants, plan, show)
    write_outcomes(result.outcomes, path, [own.name for own in plan.own])
