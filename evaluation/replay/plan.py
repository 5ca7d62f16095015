"""What the flags of `rankstream replay` ask for, as variants and a plan."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rankstream.bundles.ranker import calibrated_heads
from rankstream.evaluation.baselines.base import ItemRows
from rankstream.evaluation.baselines.panel import ALL_ACTIONS, MakeOfLists
from rankstream.evaluation.baselines.shown_rate import ShownRate
from rankstream.evaluation.leakage import (
    CatalogueVersions,
    GraphVersions,
    InterestsVersions,
    ItemTables,
    UserTables,
    check_bundle,
    check_table,
)
from rankstream.evaluation.point_in_time import (
    CatalogueAsOf,
    GraphsAsOf,
    InterestsAsOf,
    ItemsAsOf,
    LiveRankerAsOf,
    TablesAsOf,
    bundles_items,
    no_catalogue,
    no_graph,
    no_interests,
    no_table,
)
from rankstream.evaluation.replay.candidates import (
    CandidateSelection,
    Catalogue,
    ItemIds,
    as_shown,
    sampled,
    whole,
)
from rankstream.evaluation.replay.counts import (
    BundlesOwn,
    CountedAnew,
    CountsOverTime,
    counts_by_default,
    published_counts,
)
from rankstream.evaluation.replay.impressions import impressions_of
from rankstream.evaluation.replay.protocols import (
    EvaluationProtocol,
    LoggedSession,
    NextPositive,
    PositiveInSession,
    ShownLists,
    bits,
    masks_of,
)
from rankstream.evaluation.replay.run import Plan, ReplayResult
from rankstream.evaluation.replay.variants import DelayedPipeline, ReplayError, Variant
from rankstream.evaluation.time_text import delay_text, time_text
from rankstream.events.arrivals import UNSORTED, Arrivals, RecordedLog
from rankstream.events.impressions import Impressions, acts_of
from rankstream.events.kept_actions import KeptActions
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.files import versions
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.user_state import NEVER as NEVER_FORGOTTEN
from rankstream.metrics.arrays import Ints
from rankstream.ranking.backends.scorers import ONNXRUNTIME
from rankstream.ranking.bundle import Bundle
from rankstream.ranking.serving import ranker_of
from rankstream.ranking.table_folders import TableFolders

CATALOGUE = "the whole catalogue"
PROTOCOLS = ("logged", "slate", "catalogue", "sampled", "funnel")
OF_IMPRESSIONS = ("logged", "slate")  # they rank what was shown
SAMPLED_NOTE = (
    "NOTE: the metrics are of the ranks in the sample: they compare rankers on this sample and nothing else, and are "
    "far higher than those of the whole catalogue, which --protocol catalogue measures"
)


@dataclass(frozen=True)
class ReplayOptions:
    """The flags of a replay."""

    protocol: str | None  # None: by what the log holds
    positives: tuple[str, ...]
    from_ms: int | None
    until_ms: int | None
    requests: int | None
    sample: int
    exclude_seen: bool
    session_gap_ms: int
    delays: tuple[int | None, ...]
    ks: tuple[int, ...]
    seed: int
    allow_leak: bool
    interleave: bool
    limit: int = 500  # items that the funnel retrieves
    refresh_ms: int | None = None  # boundaries at which item counts are made anew; 0: never, None: by default


def folders_of(bundles: int, given: Mapping[str, Sequence[Path]]) -> list[TableFolders]:
    """Return each bundle's folders of published tables; ``given`` has those of each flag, by field of these.

    Raises ``ReplayError`` where there is neither one for all nor one each.
    """
    for name, roots in given.items():
        if len(roots) not in (0, 1, bundles):
            flag = f"--{name.replace('_', '-')}"
            raise ReplayError(f"{len(roots)} {flag} for {bundles} --bundle; give one for all, or one each")
    return [
        TableFolders(**{name: roots[min(at, len(roots) - 1)] for name, roots in given.items() if roots})
        for at in range(bundles)
    ]


def check_folders(folders: Sequence[TableFolders], options: ReplayOptions) -> None:
    """Raise ``ReplayError`` for tables that this replay would not look at."""
    if options.refresh_ms is not None and any(one.item_counts for one in folders):
        raise ReplayError("--item-counts are published versions, --refresh counts anew from the log; give one of them")
    if options.protocol != "funnel" and any(one.catalogue or one.interests or one.graph for one in folders):
        raise ReplayError(
            "--catalogue, --interests and --graph say what is proposed where a request brings no candidates, and only "
            "--protocol funnel asks for that; add it, or leave them out"
        )


def variants_of(
    bundle_dirs: Sequence[Path],
    bundles: Sequence[Bundle],
    folders: Sequence[TableFolders],
    options: ReplayOptions,
    history_limit: int,
    lists: Impressions | None = None,
    forget_after_ms: int = NEVER_FORGOTTEN,
) -> tuple[list[Variant], list[dict[str, Any]], list[str]]:
    """Return a variant for each bundle and delay, the facts of each, and the marks of allowed leaks.

    ``folders`` are those of the tables beside each bundle, ``lists`` what the log says was shown.
    """
    check_folders(folders, options)
    variants: list[Variant] = []
    facts: list[dict[str, Any]] = []
    marks: list[str] = []
    names, past = _names(bundle_dirs, bundles), KeptActions(one_vocabulary(bundles), lists)
    from_ms = start_of(bundles, options)
    for name, bundle, beside in zip(names, bundles, folders, strict=True):
        manifest = bundle.manifest
        marks += check_bundle(manifest, from_ms, options.allow_leak)
        marks += check_table(bundle.items, from_ms, options.allow_leak, f"the items of {name}")
        make, leaks = _beside(bundle, beside, options, past, from_ms)
        marks += leaks
        for delay in options.delays:
            called = _variant_name(name, delay, options.delays)
            serving = LiveRankerAsOf(manifest.vocabulary, ranker_of(bundle, NoVectors(manifest.sizes.user_dim)))
            variants.append(make(called, DelayedPipeline(serving, delay, history_limit, forget_after_ms)))
            about_model = {"model": manifest.model_version, "calibrated": calibrated_heads(manifest.parts)}
            facts.append({"name": called, "bundle": name, "delay_ms": delay} | about_model)
    return variants, facts, list(dict.fromkeys(marks))


def _beside(
    bundle: Bundle, folders: TableFolders, options: ReplayOptions, past: KeptActions, from_ms: int
) -> tuple[Callable[[str, DelayedPipeline], Variant], list[str]]:
    """Return what makes a variant of a bundle with the tables beside it, and the marks of allowed leaks."""
    allow, marks = options.allow_leak, []
    users: TablesAsOf = no_table
    if folders.user_vectors is not None:
        users, leaks = user_vectors(folders.user_vectors, bundle, from_ms, allow)
        marks += leaks
    counts, leaks = counts_of(bundle, folders.item_counts, options, past, from_ms)
    marks += leaks
    catalogues: CatalogueAsOf = no_catalogue
    if folders.catalogue is not None:
        published = CatalogueVersions(folders.catalogue)
        marks += published.check(from_ms, allow)
        catalogues = published.as_of_or_oldest
    interests: InterestsAsOf = no_interests
    if folders.interests is not None:
        found = InterestsVersions(folders.interests)
        marks += found.check(bundle.manifest, from_ms, allow)
        interests = found.as_of
    graphs: GraphsAsOf = no_graph
    if folders.graph is not None:
        walked = GraphVersions(folders.graph)
        marks += walked.check(from_ms, allow)
        graphs = walked.as_of_or_oldest
    items = bundles_items if folders.item_vectors is None else item_vectors(folders.item_vectors, bundle)

    def variant(name: str, delayed: DelayedPipeline) -> Variant:
        return Variant(name, bundle, users, delayed, counts, items, catalogues, interests, graphs)

    return variant, marks


def counts_of(
    bundle: Bundle, folder: Path | None, options: ReplayOptions, past: KeptActions, from_ms: int
) -> tuple[CountsOverTime, list[str]]:
    """Return where a bundle's item counts come from, and the marks of allowed leaks; ``past`` is what the log held.

    Raises as ``published_counts`` does, and ``NotCountableError`` where they are to be made anew and can't be.
    """
    if folder is not None:
        return published_counts(folder, bundle, from_ms, options.allow_leak)
    if options.refresh_ms is None:
        return counts_by_default(bundle, past), []
    if not options.refresh_ms:
        return BundlesOwn(bundle), []
    return CountedAnew(bundle, past, options.refresh_ms), []


def user_vectors(root: Path, bundle: Bundle, from_ms: int, allow_leak: bool) -> tuple[TablesAsOf, list[str]]:
    """Return the tables of user vectors by time, and the marks of allowed leaks.

    Raises ``LeakError`` where no version is old enough for the first query, and ``BrokenTableError`` for another
    model's.
    """
    users = UserTables(root)
    users.check_made_with(bundle.manifest)
    oldest = users.opened[0]
    marks = check_table(oldest, from_ms, allow_leak, f"the users in {root}")
    if marks:
        return (lambda at_ms: users.as_of(at_ms) or oldest), marks
    return users.as_of, []


def item_vectors(root: Path, bundle: Bundle) -> ItemsAsOf:
    """Return the item vectors by time: none of them knows more than the query, and before the first the bundle's serve.

    Raises ``BrokenTableError`` for another model's, ``LeakError`` for a version whose time can't be true.
    """
    published = ItemTables(root, bundle)
    published.check_times()
    return published.as_of


def known_items(bundles: Sequence[Bundle], folders: Sequence[TableFolders]) -> Catalogue:
    """Return all items of the bundles, and of the versions of item vectors and catalogues beside them.

    Before an item is published, no ranker knows it.
    """
    tables: list[ItemIds] = [bundle.items for bundle in bundles]
    for root in dict.fromkeys(one.item_vectors for one in folders if one.item_vectors is not None):
        tables += [EmbeddingTable.open_version(folder) for folder in versions(root)]
    for root in dict.fromkeys(one.catalogue for one in folders if one.catalogue is not None):
        tables += CatalogueVersions(root).opened
    return Catalogue(tables)


def scored_bundles(bundle_dirs: Sequence[Path], scorers: Sequence[str]) -> list[tuple[Path, str]]:
    """Return each bundle with its scorer: one for all, one each, or one bundle by each of several scorers.

    Raises ``ReplayError`` where the numbers fit none of these.
    """
    if len(bundle_dirs) == 1:
        return [(bundle_dirs[0], scorer) for scorer in scorers or (ONNXRUNTIME,)]
    if len(scorers) not in (0, 1, len(bundle_dirs)):
        raise ReplayError(f"{len(scorers)} --scorer for {len(bundle_dirs)} --bundle; give one for all, or one each")
    each = scorers if len(scorers) == len(bundle_dirs) else [*(scorers or (ONNXRUNTIME,))] * len(bundle_dirs)
    return list(zip(bundle_dirs, each, strict=True))


def _names(bundle_dirs: Sequence[Path], bundles: Sequence[Bundle]) -> list[str]:
    """Return what to call each bundle: its folder, and its scorer where that is not the default."""
    names = [path.resolve().name for path in bundle_dirs]
    if len(set(names)) < len(set(bundle_dirs)):
        names = [str(path) for path in bundle_dirs]
    scorers = ["" if one.scorer == ONNXRUNTIME else f", {one.scorer}" for one in bundles]
    return [name + scorer for name, scorer in zip(names, scorers, strict=True)]


def _variant_name(name: str, delay: int | None, delays: Sequence[int | None]) -> str:
    if len(delays) == 1 and delay == 0:
        return name
    if not delay:
        return f"{name}, no realtime actions" if delay is None else f"{name}, realtime"
    return f"{name}, {delay_text(delay)} behind"


def start_of(bundles: Sequence[Bundle], options: ReplayOptions) -> int:
    """Return the time from which on queries are ranked: the flag's, or where the newest training ended."""
    trained = max(bundle.manifest.trained_until_ms for bundle in bundles)
    return trained if options.from_ms is None else options.from_ms


@dataclass(frozen=True)
class ProtocolChoice:
    """The protocol of a replay, and what is to be said of it."""

    name: str
    why: str | None = None  # it was chosen by what the log holds; None: by the user
    note: str | None = None  # why it may not measure what it seems to


def choose_protocol(
    log: RecordedLog,
    declared: bool | None,
    positives: int,
    options: ReplayOptions,
    vocabulary: Vocabulary,
    lists: Impressions | None = None,
) -> ProtocolChoice:
    """Return the protocol that was asked for, else the one that fits the log; ``declared``: see ``impressions_of``.

    A log of impressions is ranked as shown, list by list where it says which ``lists`` there were; from a log of acts,
    the whole catalogue is. Raises ``ReplayError`` for a protocol that takes what was shown and done as one row.
    """
    given = options.protocol
    if lists is not None and given == "slate":
        raise ReplayError(
            "--protocol slate is of logs in which what was shown and what was done come as one row; this one says what "
            "was shown, list by list: --protocol logged ranks the lists"
        )
    if given is not None and given not in OF_IMPRESSIONS:
        return ProtocolChoice(given, note=SAMPLED_NOTE if given == "sampled" else None)
    if given is None and options.exclude_seen:
        return ProtocolChoice("catalogue", "--exclude-seen is about the catalogue")
    if lists is not None:
        return ProtocolChoice("logged", None if given else f"the log says what was shown, in {len(lists):,} lists")
    impressions = impressions_of(log.batches(vocabulary), vocabulary, positives, options.session_gap_ms, declared)
    if given is None:
        return ProtocolChoice("logged" if impressions.found else "catalogue", impressions.why)
    if impressions.found:
        return ProtocolChoice(given)
    return ProtocolChoice(
        given,
        note=f"NOTE: {impressions.why}; --protocol {given} ranks the items of a session among themselves, which is no "
        "ranking of what was shown: --protocol catalogue ranks all items",
    )


@dataclass(frozen=True)
class ShownToUsers:
    """The lists of a log that says what was shown, and what followed."""

    lists: Impressions
    actions: Sequence[int]  # masks, one a shown item
    within_ms: int  # that follows on it


def shown_to_users(log: RecordedLog, lists: Impressions, vocabulary: Vocabulary, within_ms: int) -> ShownToUsers:
    """Read the log once for the actions that followed on what was shown, within so long."""
    codes: list[Ints] = []

    def noted() -> Iterator[Arrivals]:
        for arrivals in log.batches(vocabulary):
            codes.append(arrivals.codes)
            yield arrivals

    acts = acts_of(noted())
    return ShownToUsers(lists, masks_of(lists, acts, np.concatenate(codes), within_ms), within_ms)


def positives_of(bundles: Sequence[Bundle], options: ReplayOptions) -> int:
    """Return the mask of the positive actions. Raises ``ReplayError`` for actions that the bundle does not know."""
    codes = one_vocabulary(bundles).action_codes
    utility = bundles[0].manifest.utility
    names = options.positives or tuple(head for head, weight in utility.items() if weight > 0 and head in codes)
    for name in names:
        if name not in codes:
            raise ReplayError(f"--positive {name} is no action of the bundle; it knows {', '.join(codes)}")
    if not names:
        raise ReplayError(
            f"no head of the bundle has a positive weight; name positive actions with --positive, of {', '.join(codes)}"
        )
    return bits(codes[name] for name in names)


def plan_of(
    bundles: Sequence[Bundle],
    variants: Sequence[Variant],
    catalogue: Catalogue,
    options: ReplayOptions,
    choice: ProtocolChoice,
    shown: "ShownToUsers | None" = None,
) -> Plan:
    """Make the plan of the flags; ``shown`` is what a log says of that.

    Raises ``ReplayError`` for actions that the bundle does not know.
    """
    vocabulary, positives = one_vocabulary(bundles), positives_of(bundles, options)
    codes = vocabulary.action_codes
    protocol, select = _protocol(choice.name, options, positives, catalogue)
    of_lists: tuple[MakeOfLists, ...] = ()
    in_one_row = shown is None and choice.name in OF_IMPRESSIONS  # then only positives tell what users chose
    if shown is not None and choice.name == "logged":
        protocol = partial(ShownLists, shown.lists, shown.actions)
        of_lists = (partial(_shown_rate, shown=shown, positives=positives),)
    heads = {head: codes[head] for bundle in bundles for head in bundle.manifest.heads if head in codes}
    return Plan(
        protocol=protocol,
        select=select,
        vocabulary=vocabulary,
        positives=positives,
        heads=heads,
        from_ms=start_of(bundles, options),
        until_ms=options.until_ms,
        max_queries=options.requests,
        ks=options.ks,
        shown=choice.name == "logged",
        unseen_only=options.exclude_seen and choice.name not in OF_IMPRESSIONS,
        catalogue=catalogue,
        acts=positives if in_one_row else ALL_ACTIONS,
        session_gap_ms=options.session_gap_ms,
        of_lists=of_lists,
        whole_rankings=options.interleave,
        retrieve=options.limit if choice.name == "funnel" else None,
        interleaved=_to_mix(variants) if options.interleave else None,
        seed=options.seed,
    )


def _shown_rate(items: ItemRows, shown: ShownToUsers, positives: int) -> ShownRate:
    return ShownRate(items, shown.lists, shown.actions, positives, shown.within_ms)


def _to_mix(variants: Sequence[Variant]) -> tuple[str, str]:
    """Return the first variants of two bundles."""
    first = variants[0]
    others = [variant for variant in variants if variant.bundle is not first.bundle]
    if not others:
        raise ReplayError("--interleave wants two rankers; give a second --bundle")
    return first.name, others[0].name


def _protocol(
    name: str, options: ReplayOptions, positives: int, catalogue: Catalogue
) -> tuple[Callable[[], EvaluationProtocol], CandidateSelection]:
    seed, exclude_seen = options.seed, options.exclude_seen
    if name == "logged":
        return partial(LoggedSession, options.session_gap_ms), as_shown(seed)
    if name == "slate":
        return partial(PositiveInSession, positives, options.session_gap_ms), as_shown(seed)
    unseen = " that the user has not seen" if exclude_seen else ""
    if name == "sampled":
        among = f"{options.sample:,} random items of the catalogue{unseen}"
        return partial(NextPositive, positives, among), sampled(
            catalogue, options.sample, seed, exclude_seen=exclude_seen
        )
    among = f"all items{unseen}" if exclude_seen else CATALOGUE
    if name == "funnel":
        among = f"the {options.limit:,} items that retrieval proposes"
    return partial(NextPositive, positives, among), whole(catalogue, exclude_seen=exclude_seen, seed=seed)


def one_vocabulary(bundles: Sequence[Bundle]) -> Vocabulary:
    """Return the one vocabulary of all bundles: codes drive them all. Raises ``ReplayError`` if they differ."""
    first, *others = [bundle.manifest.vocabulary for bundle in bundles]
    for other in others:
        if other != first:
            raise ReplayError(
                f"the bundles have different vocabularies ({', '.join(first.actions)}; {', '.join(other.actions)}), "
                "so they can't be driven by the same states; export both from the same names in the same order"
            )
    return first


def _hints(result: ReplayResult, plan: Plan) -> list[str]:
    """Return what of the log makes metrics mean something else than most expect."""
    hints = []
    if plan.max_queries is not None and len(result.outcomes.queries) < plan.max_queries:
        hints.append(
            f"NOTE: {plan.max_queries:,} requests were asked for, but the replayed part holds no more than "
            f"{len(result.outcomes.queries):,} with something to rank: all of them were ranked"
        )
    share = result.out_of_order / max(1, result.events)
    if share < UNSORTED:
        return hints
    return [
        *hints,
        f"NOTE: {share:.0%} of the events come after later ones of the log, and are replayed in that order; if it is "
        "not the one that they arrived in, add --sort",
    ]


def about(
    log: RecordedLog,
    result: ReplayResult,
    variants: Sequence[Variant],
    plan: Plan,
    options: ReplayOptions,
    choice: ProtocolChoice,
    bundle_dirs: Sequence[Path],
    marks: Sequence[str],
) -> dict[str, Any]:
    """Return what is to be known of a replay besides its metrics."""
    ranking = sum(variant.seconds["ranking"] for variant in variants)
    return {
        "log": {
            "name": log.name,
            "checksum": log.checksum(),
            "events": result.events,
            "events_in_period": result.events_in_period,
            "first": None if result.first_ms is None else time_text(result.first_ms),
            "last": None if result.last_ms is None else time_text(result.last_ms),
            "skipped": dict(log.skipped.most_common()),
            "ignored": dict(log.skipped.most_common_ignored()),
            "out_of_order": result.out_of_order,
        },
        "protocol": {
            "name": choice.name,
            "chosen_because": choice.why,
            "about": plan.protocol().about,
            "from": time_text(plan.from_ms),
            "until": None if plan.until_ms is None else time_text(plan.until_ms),
            "requests_asked_for": plan.max_queries,
            "requests_found": result.queries_found,
            "positives": [name for name, code in plan.vocabulary.action_codes.items() if plan.positives >> code & 1],
            "sample": options.sample if choice.name == "sampled" else None,
            "limit": plan.retrieve,
            "seed": options.seed,
        },
        "item_counts": {
            str(path): variant.counts.about()
            for path, variant in zip(bundle_dirs, variants[:: len(options.delays)], strict=True)
        },
        "marks": [*marks, *([choice.note] if choice.note else []), *_hints(result, plan)],
        "time": {
            "seconds": result.seconds,
            "events_per_s": result.events / result.seconds if result.seconds else 0.0,
            "ranking_seconds": ranking,
            "scoring_share": sum(variant.seconds["scoring"] for variant in variants) / result.seconds
            if result.seconds
            else 0.0,
        },
        "bundles": {
            str(path): {"model": variant.bundle.manifest.model_version, "checksum": variant.bundle.manifest.checksum}
            for path, variant in zip(bundle_dirs, variants[:: len(options.delays)], strict=True)
        },
        "command": "rankstream " + " ".join(sys.argv[1:]),
    }
