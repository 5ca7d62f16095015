"""What the flags of `rankstream replay` ask for, as variants and a plan."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rankstream.evaluation.leakage import UserTables, check_bundle, check_table
from rankstream.evaluation.point_in_time import LiveRankerAsOf, TablesAsOf
from rankstream.evaluation.replay.candidates import CandidateSelection, Catalogue, as_shown, sampled, whole
from rankstream.evaluation.replay.protocols import (
    EvaluationProtocol,
    LoggedSession,
    NextPositive,
    PositiveInSession,
    bits,
)
from rankstream.evaluation.replay.run import Plan, ReplayResult
from rankstream.evaluation.replay.variants import DelayedPipeline, ReplayError, Variant
from rankstream.evaluation.time_text import delay_text, time_text
from rankstream.events.arrivals import RecordedLog
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.base import NoVectors, VectorTable
from rankstream.ranking.bundle import Bundle
from rankstream.ranking.serving import ranker_of

CATALOGUE = "the whole catalogue"
UNSORTED = 0.05  # share of events out of order from which on a log is taken for unsorted
PROTOCOLS = ("logged", "slate", "catalogue", "sampled")


@dataclass(frozen=True)
class ReplayOptions:
    """The flags of a replay."""

    protocol: str
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


def variants_of(
    bundle_dirs: Sequence[Path],
    bundles: Sequence[Bundle],
    tables: Sequence[Path],
    options: ReplayOptions,
    history_limit: int,
) -> tuple[list[Variant], list[dict[str, Any]], list[str]]:
    """Return a variant for each bundle and delay, the facts of each, and the marks of allowed leaks."""
    if len(tables) not in (0, 1, len(bundles)):
        raise ReplayError(f"{len(tables)} --user-vectors for {len(bundles)} --bundle; give one for all, or one each")
    variants: list[Variant] = []
    facts: list[dict[str, Any]] = []
    marks: list[str] = []
    names = _names(bundle_dirs)
    for at, bundle in enumerate(bundles):
        manifest, from_ms = bundle.manifest, start_of(bundles, options)
        marks += check_bundle(manifest, from_ms, options.allow_leak)
        marks += check_table(bundle.items, from_ms, options.allow_leak, f"the items of {names[at]}")
        as_of: TablesAsOf = _no_table
        if tables:
            as_of, leaks = user_vectors(tables[min(at, len(tables) - 1)], bundle, from_ms, options.allow_leak)
            marks += leaks
        for delay in options.delays:
            name = _variant_name(names[at], delay, options.delays)
            serving = LiveRankerAsOf(manifest.vocabulary, ranker_of(bundle, NoVectors(manifest.sizes.user_dim)))
            variants.append(Variant(name, bundle, as_of, DelayedPipeline(serving, delay, history_limit)))
            facts.append({"name": name, "bundle": names[at], "delay_ms": delay, "model": manifest.model_version})
    return variants, facts, list(dict.fromkeys(marks))


def _no_table(at_ms: int) -> VectorTable | None:
    return None


def user_vectors(root: Path, bundle: Bundle, from_ms: int, allow_leak: bool) -> tuple[TablesAsOf, list[str]]:
    """Return the tables of user vectors by time, and the marks of allowed leaks.

    Raises ``LeakError`` where no version is old enough for the first query, and ``BrokenTableError`` for another
    model's.
    """
    users = UserTables(root)
    users.check_made_with(bundle.manifest)
    oldest = users.tables[0]
    marks = check_table(oldest, from_ms, allow_leak, f"the users in {root}")
    if marks:
        return (lambda at_ms: users.as_of(at_ms) or oldest), marks
    return users.as_of, []


def _names(bundle_dirs: Sequence[Path]) -> list[str]:
    names = [path.resolve().name for path in bundle_dirs]
    if len(set(names)) < len(names):
        names = [str(path) for path in bundle_dirs]
    return names


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


def plan_of(
    bundles: Sequence[Bundle], variants: Sequence[Variant], catalogue: Catalogue, options: ReplayOptions
) -> Plan:
    """Make the plan of the flags. Raises ``ReplayError`` for actions that the bundle does not know."""
    vocabulary = _one_vocabulary(bundles)
    codes = vocabulary.action_codes
    utility = bundles[0].manifest.utility
    names = options.positives or tuple(head for head, weight in utility.items() if weight > 0 and head in codes)
    for name in names:
        if name not in codes:
            raise ReplayError(f"--positive {name} is no action of the bundle; it knows {', '.join(codes)}")
    if not names:
        raise ReplayError(
            f"no head of the bundle has a positive weight; name positive actions with --positive, of {', '.join(codes)}"
        )
    positives = bits(codes[name] for name in names)
    protocol, select = _protocol(options, positives, catalogue)
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
        shown=options.protocol == "logged",
        remember_seen=options.exclude_seen,
        interleaved=_to_mix(variants) if options.interleave else None,
        seed=options.seed,
    )


def _to_mix(variants: Sequence[Variant]) -> tuple[str, str]:
    """Return the first variants of two bundles."""
    first = variants[0]
    others = [variant for variant in variants if variant.bundle is not first.bundle]
    if not others:
        raise ReplayError("--interleave wants two rankers; give a second --bundle")
    return first.name, others[0].name


def _protocol(
    options: ReplayOptions, positives: int, catalogue: Catalogue
) -> tuple[Callable[[], EvaluationProtocol], CandidateSelection]:
    if options.protocol == "logged":
        return partial(LoggedSession, options.session_gap_ms), as_shown(options.seed)
    if options.protocol == "slate":
        return partial(PositiveInSession, positives, options.session_gap_ms), as_shown(options.seed)
    if options.protocol == "sampled":
        among = f"{options.sample:,} items sampled from the catalogue"
        return partial(NextPositive, positives, among), sampled(catalogue, options.sample, options.seed)
    among = "all items that the user has not seen" if options.exclude_seen else CATALOGUE
    return partial(NextPositive, positives, among), whole(catalogue, exclude_seen=options.exclude_seen)


def _one_vocabulary(bundles: Sequence[Bundle]) -> Vocabulary:
    """Return the one vocabulary of all bundles: codes drive them all. Raises ``ReplayError`` if they differ."""
    first, *others = [bundle.manifest.vocabulary for bundle in bundles]
    for other in others:
        if other != first:
            raise ReplayError(
                f"the bundles have different vocabularies ({', '.join(first.actions)}; {', '.join(other.actions)}), "
                "so they can't be driven by the same states; export both from the same names in the same order"
            )
    return first


def _hints(result: ReplayResult) -> list[str]:
    """Return what of the log makes metrics mean something else than most expect."""
    share = result.out_of_order / max(1, result.events)
    if share < UNSORTED:
        return []
    return [
        f"NOTE: {share:.0%} of the events come after later ones of the log, and are replayed in that order; if it is "
        "the file's, but not the one that they arrived in, add --sort"
    ]


def about(
    log: RecordedLog,
    result: ReplayResult,
    variants: Sequence[Variant],
    plan: Plan,
    options: ReplayOptions,
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
            "first": None if result.first_ms is None else time_text(result.first_ms),
            "last": None if result.last_ms is None else time_text(result.last_ms),
            "skipped": dict(log.skipped.most_common()),
            "out_of_order": result.out_of_order,
        },
        "protocol": {
            "name": options.protocol,
            "about": plan.protocol().about,
            "from": time_text(plan.from_ms),
            "until": None if plan.until_ms is None else time_text(plan.until_ms),
            "requests_found": result.queries_found,
            "positives": [name for name, code in plan.vocabulary.action_codes.items() if plan.positives >> code & 1],
            "sample": options.sample if options.protocol == "sampled" else None,
            "seed": options.seed,
        },
        "marks": list(marks) + _hints(result),
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
