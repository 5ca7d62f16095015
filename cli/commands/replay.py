"""`rankstream replay`: a recorded log through the pipeline that serves, and metrics of its rankings."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rankstream.bundles.item_counts import NotCountableError
from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.aliases import renamed
from rankstream.cli.options.logs import as_it_happened, log_options, opened_log, time_option
from rankstream.cli.options.settings import CONNECTED, offset_range, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.replay import print_summary
from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.evaluation.leakage import LeakError
from rankstream.evaluation.replay.own_scores import facts_of, open_all
from rankstream.evaluation.replay.plan import (
    OF_IMPRESSIONS,
    PROTOCOLS,
    ProtocolChoice,
    ReplayOptions,
    about,
    choose_protocol,
    folders_of,
    known_items,
    one_vocabulary,
    plan_of,
    positives_of,
    scored_bundles,
    shown_to_users,
    variants_of,
)
from rankstream.evaluation.replay.repeats import repeats_items
from rankstream.evaluation.replay.report import document_of, write_report
from rankstream.evaluation.replay.run import Plan, ReplayResult, replay
from rankstream.evaluation.replay.summary import summarise
from rankstream.evaluation.replay.variants import DelayedPipeline, ReplayError, Variant
from rankstream.evaluation.time_text import delay_ms, time_text
from rankstream.events.action_event import Record
from rankstream.events.arrivals import LogError, RecordedLog
from rankstream.events.contents import Contents, one_for_many
from rankstream.events.impressions import Impressions
from rankstream.events.log_kind import WIRE_FORMAT, LogKind
from rankstream.events.open import FileLog, LogOptions
from rankstream.events.readers.topic import RecordLog
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.user_state import NEVER
from rankstream.ranking.backends.scorers import AUTO, SCORERS
from rankstream.ranking.bundle import Bundle, BundleRefusedError, open_bundle
from rankstream.ranking.request import MAX_CANDIDATES
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.clients.time_order import OffsetRange, in_time_order
from rankstream.streams.engine import PLAIN, Engine, EngineRefusedError, open_engine
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, TopicNames

UNSEEN_ALONE = (
    "hardly any user of this log acts on an item twice, so only items that the user has not seen are ranked, as "
    "retrieval proposes them; --no-exclude-seen ranks all"
)


def _delays(ctx: click.Context, option: click.Parameter, given: str) -> tuple[int | None, ...]:
    with refusing(ValueError):
        return tuple(dict.fromkeys(delay_ms(text.strip()) for text in given.split(",")))


def _gap(ctx: click.Context, option: click.Parameter, given: str) -> int:
    with refusing(ValueError):
        gap = delay_ms(given)
    if not gap:
        raise Refusal(f"--session-gap {given} ends no session, or every one at once; write for example 30m or 12h")
    return gap


def _boundaries(ctx: click.Context, option: click.Parameter, given: str | None) -> int | None:
    if given is None:
        return None
    hours = f"{given}h" if given.isdigit() else given
    with refusing(ValueError):
        every = delay_ms(hours)
    if every == 0:
        raise Refusal(f"--refresh {given} has no boundaries; write for example 24h, 6 (hours) or never")
    return every or 0


def _whole_numbers(ctx: click.Context, option: click.Parameter, given: str) -> tuple[int, ...]:
    numbers = given.split(",")
    if not all(number.strip().isdigit() and int(number) > 0 for number in numbers):
        raise Refusal(f"--k {given} is no list of ranks; write for example --k 3,10")
    return tuple(sorted({int(number) for number in numbers}))


@click.command(context_settings=renamed({"--visit-gap": "--session-gap", "--without-met": "--exclude-seen"}))
@click.option("--events", type=click.Path(path_type=Path), help="The log: a file, or a known folder; else Kafka.")
@log_options
@click.option("--offsets", callback=offset_range, metavar="FIRST:END", help="Of Kafka: only these of each partition.")
@click.option(
    "--sort/--no-sort",
    default=None,
    help="Replay in the order of time, not of the log; holds the log in memory.  [default: where a file's rows are in "
    "no order of time, and have no arrived_ms]",
)
@click.option(
    "--bundle", "bundles", type=click.Path(path_type=Path), multiple=True, help="A model bundle; several are compared."
)
@click.option(
    "--user-vectors", "tables", type=click.Path(path_type=Path), multiple=True, help="Batch vectors, one a bundle."
)
@click.option(
    "--item-counts", "counts", type=click.Path(path_type=Path), multiple=True, help="Published counts, one a bundle."
)
@click.option(
    "--item-vectors", "items", type=click.Path(path_type=Path), multiple=True, help="Published item vectors, likewise."
)
@click.option(
    "--catalogue", "catalogues", type=click.Path(path_type=Path), multiple=True,
    help="Published catalogues, likewise; of `funnel`.",
)  # fmt: skip
@click.option(
    "--interests", type=click.Path(path_type=Path), multiple=True,
    help="Published users' interests, likewise; of `funnel`.",
)  # fmt: skip
@click.option(
    "--graph", "graphs", type=click.Path(path_type=Path), multiple=True,
    help="Published graphs, likewise; of `funnel`.",
)  # fmt: skip
@click.option(
    "--scorer", "scorers", type=click.Choice((AUTO, *SCORERS)), multiple=True, metavar="NAME",
    help="What runs the graphs, as the setting `scorer`: one a bundle; several for one bundle are compared.  "
    "[default: onnxruntime]",
)  # fmt: skip
@click.option(
    "--refresh", "refresh_ms", callback=_boundaries, metavar="24h|HOURS|never",
    help="Count items anew from the log, so often.  [default: 24h without --item-counts, where the bundle says how]",
)  # fmt: skip
@click.option(
    "--protocol", type=click.Choice(PROTOCOLS),
    help="What is ranked when.  [default: logged, if the log holds impressions; else catalogue]",
)  # fmt: skip
@click.option(
    "--positive",
    "positives",
    multiple=True,
    metavar="ACTION",
    help="A positive action; several times.  [default: by the utility]",
)
@time_option("--from", "from_ms", help="Rank from here on; before, only update states.")
@time_option("--until", "until_ms", help="Rank nothing from here on.")
@click.option(
    "--requests",
    type=click.IntRange(min=0),
    default=2_000,
    show_default=True,
    help="Rank so many, sampled from all; 0: all.",
)
@click.option(
    "--sample", type=click.IntRange(min=1), default=100, show_default=True, help="Random candidates of `sampled`."
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_CANDIDATES), default=500, show_default=True,
    help="Items that `funnel` retrieves.",
)  # fmt: skip
@click.option(
    "--session-gap", "session_gap_ms", callback=_gap, default="30m", show_default=True,
    help="A pause longer than this ends a session.",
)  # fmt: skip
@click.option(
    "--exclude-seen/--no-exclude-seen",
    default=None,
    help="Rank only items that the user has not seen; repeats are not asked for.  [default: where hardly any user of "
    "the log acts on an item twice]",
)
@click.option(
    "--staleness",
    "delays",
    callback=_delays,
    default="0s",
    metavar="DELAYS",
    help="Rank with actions delayed by each of these, as 0s,1m,1h,24h,never.",
)
@click.option(
    "--k", "ks", callback=_whole_numbers, default="3,10", show_default=True, help="The k of HIT@k, recall@k and NDCG@k."
)
@click.option(
    "--interleave", is_flag=True, help="Mix the feeds of two bundles too (team draft), and report which wins."
)
@click.option("--seed", default=1, show_default=True, help="Of all sampling.")
@click.option("--allow-leak", is_flag=True, help="Rank with models that have seen the future; marks every output.")
@click.option(
    "--scores",
    multiple=True,
    metavar="FILE|MODULE:FUNCTION",
    help="A ranker of one's own beside: scores from a file, or of a Python function.",
)
@click.option(
    "--outcomes",
    "outcomes_path",
    type=click.Path(path_type=Path),
    metavar="FILE.parquet",
    help="Write what each ranker made of each request.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for report.html and report.json.")
@json_option
@settings_options(*CONNECTED, also=("history_limit", "forget_after_days", "engine"))
@refusing(
    LogError, LeakError, ReplayError, BundleRefusedError, BrokenTableError, NotCountableError, ClientError,
    EngineRefusedError,
)  # fmt: skip
def command(
    events: Path | None,
    log_options: LogOptions,
    offsets: OffsetRange,
    sort: bool | None,
    bundles: tuple[Path, ...],
    tables: tuple[Path, ...],
    counts: tuple[Path, ...],
    items: tuple[Path, ...],
    catalogues: tuple[Path, ...],
    interests: tuple[Path, ...],
    graphs: tuple[Path, ...],
    scorers: tuple[str, ...],
    requests: int,
    scores: tuple[str, ...],
    outcomes_path: Path | None,
    out: Path | None,
    as_json: bool,
    settings: Settings,
    **options_given: Any,
) -> None:
    """Replay a recorded log, and evaluate the rankings by what users then did.

    The log's actions go one after the other through the code that serves, as a worker would get them, and rankings are
    requested on the way. No broker is needed. A ranker sees at each time what it would have seen live, and a model
    that was trained on later events is refused.

    \b
    --protocol: what is ranked, when
      logged     when a list is shown (--shown, --impressions), its items;
                 else, when a session begins, those that were shown in it
      slate      before each positive, its item among the non-clicked
                 impressions of the rest of the session
      catalogue  before each positive, all items that the bundle knows
      sampled    before each positive, its item among --sample random ones;
                 compares rankers on this sample only
      funnel     before each positive, the --limit items that retrieval
                 proposes, with --catalogue, --interests and --graph as they
                 were: what each source finds and adds, and what ranking makes
                 of it
    Where it is not given, the first rows of the log tell whether it holds
    impressions or acts alone.

    Item counts (popularity, what goes together) are made anew at each midnight, UTC, from what the log held before it,
    as a nightly `rankstream embed` would have made them; --item-counts takes those that were published instead, and
    --refresh never leaves them as of the training.

    --events is a log as `rankstream train` reads it: a file, a folder or a pattern of files. Without it the topic
    user-actions is read as it is now, all partitions in the order of time. Without --bundle the states alone are kept,
    and the speed is printed.

    \b
    Examples:
      rankstream replay --events actions.parquet --bundle bundle --out report
      rankstream replay --events actions.parquet --bundle bundle \\
        --user-vectors vectors/users --staleness 0s,1m,1h,24h,never --out report
      rankstream replay --events log.csv --bundle old --bundle new --json
      rankstream replay --bundle bundle --bootstrap-servers kafka:9092 \\
        --offsets 1000000:2000000
    """
    exclude_seen: bool | None = options_given.pop("exclude_seen")
    options = ReplayOptions(requests=requests or None, exclude_seen=bool(exclude_seen), **options_given)
    scored = scored_bundles(bundles, scorers) if bundles else []
    bundles = tuple(path for path, _ in scored)
    opened = [open_bundle(path, scorer=scorer) for path, scorer in scored]
    if events is not None:
        log: RecordedLog = opened_log(events, replace(log_options, sort=sort or log_options.lists))
    else:
        log = _topic(settings, opened, offsets)
    if not opened:
        keep_states(log, settings.history_limit, as_json, settings.forget_after_ms, open_engine(settings.engine))
        return
    vocabulary = one_vocabulary(opened)
    if sort is None and isinstance(log, FileLog):
        log = as_it_happened(log, vocabulary)
    lists = _lists_of(log, vocabulary)
    published = {"user_vectors": tables, "item_counts": counts, "item_vectors": items, "catalogue": catalogues}
    folders = folders_of(len(opened), published | {"interests": interests, "graph": graphs})
    variants, facts, marks = variants_of(
        bundles, opened, folders, options, settings.history_limit, lists, settings.forget_after_ms
    )
    catalogue = known_items(opened, folders)
    positives = positives_of(opened, options)
    choice = choose_protocol(log, _holds_impressions(log), positives, options, vocabulary, lists)
    if exclude_seen is None and choice.name not in OF_IMPRESSIONS and not _repeats_items(log, vocabulary):
        print_notes((UNSEEN_ALONE,))
        options = replace(options, exclude_seen=True)
    shown = None if lists is None else shown_to_users(log, lists, vocabulary, options.session_gap_ms)
    own = open_all(scores, [variant.name for variant in variants])
    plan = replace(plan_of(opened, variants, catalogue, options, choice, shown), own=own)
    result = _with_progress(log, variants, plan)
    marks += [note for one in own for note in one.notes()]
    summary = summarise(result.outcomes, facts + facts_of(own), len(catalogue), options.seed)
    summary |= about(log, result, variants, plan, options, choice, bundles, marks)
    report = None if out is None else write_report(summary, out)
    _say_what_is_ranked(result, plan, choice)
    if outcomes_path is not None:
        _write_outcomes(result, outcomes_path, [one.name for one in own])
    if as_json:
        print_json(document_of(summary))
        return
    print_summary(summary)
    if report:
        click.echo(f"report: {report}")
    if outcomes_path is not None:
        click.echo(f"outcomes: {outcomes_path}")


def _say_what_is_ranked(result: ReplayResult, plan: Plan, choice: ProtocolChoice) -> None:
    """Say on stderr why this protocol was chosen, and how much of the log is ranked."""
    if choice.why is not None:
        click.echo(f"protocol {choice.name}: {choice.why} (--protocol chooses another)", err=True)
    until = "" if plan.until_ms is None else f" to {time_text(plan.until_ms)}"
    share = 100 * result.events_in_period / max(result.events, 1)
    click.echo(
        f"ranked part: {time_text(plan.from_ms)} on{until}, {result.events_in_period:,} of {result.events:,} rows "
        f"({share:.3g} %); {result.queries_found:,} requests in it have something to rank",
        err=True,
    )


def _lists_of(log: RecordedLog, vocabulary: Vocabulary) -> Impressions | None:
    """Return what was shown, where the log says so; what is skipped of a file of that is printed."""
    if not isinstance(log, FileLog):
        return None
    lists = log.impressions(vocabulary)
    if log.shown_in is not None:
        print_skipped(log.shown_in.skipped)
    return lists


def _repeats_items(log: RecordedLog, vocabulary: Vocabulary) -> bool:
    """Return whether users act on the same items again and again: by the log's kind, or by its first rows."""
    kind = _known_kind(log)
    return repeats_items(log.batches(vocabulary)) if kind is None else kind.repeats


def _holds_impressions(log: RecordedLog) -> bool | None:
    """Return whether the log is of a kind that holds impressions; None where its kind does not say."""
    kind = _known_kind(log)
    return None if kind is None else kind.exposures


def _known_kind(log: RecordedLog) -> LogKind | None:
    """Return the kind of a public log."""
    if not isinstance(log, FileLog) or log.kind == WIRE_FORMAT:
        return None
    from rankstream.events.registry import KINDS  # imports pyarrow

    return KINDS[log.kind]


def _write_outcomes(result: ReplayResult, path: Path, own: Sequence[str]) -> None:
    try:
        from rankstream.evaluation.replay.outcomes_file import write_outcomes
    except ModuleNotFoundError as exc:
        raise Refusal('--outcomes needs pyarrow: pip install "rankstream[train]"') from exc
    write_outcomes(result.outcomes, path, own)


def _topic(settings: Settings, bundles: Sequence[Bundle], offsets: OffsetRange) -> RecordLog:
    """Yield the topic of actions as it is now."""
    if not bundles:
        raise Refusal("give a log with --events, or a --bundle, whose vocabulary a topic is read with")

    def read() -> Iterator[Record]:
        with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
            yield from in_time_order(reader, offsets)

    name = f"{TopicNames(settings.topic_prefix).of(ACTIONS)} at {settings.bootstrap_servers}"
    return RecordLog(name, bundles[0].manifest.vocabulary, read)


def keep_states(
    log: RecordedLog,
    history_limit: int,
    as_json: bool = False,
    forget_after_ms: int = NEVER,
    engine: Engine = PLAIN,
) -> None:
    """Keep the states alone, and print what they hold and how fast that went."""
    serving = LiveRanker.without_bundle(log.vocabulary)
    delayed = DelayedPipeline(serving, 0, history_limit, forget_after_ms, engine)
    contents, counting_s = Contents(), 0.0  # which is no part of what a worker does
    started, columns = perf_counter(), [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        for arrivals in log.batches(log.vocabulary, erasures=True):
            delayed.feed(arrivals, 0, len(arrivals))
            since = perf_counter()
            contents.add(arrivals)
            counting_s += perf_counter() - since
            progress.update(task, description=f"{delayed.applied:,} events")
    seconds, counters = perf_counter() - started - counting_s, delayed.pipeline.counters
    print_skipped(log.skipped)
    print_notes((said,) if (said := one_for_many(contents.users)) else ())
    if not delayed.applied:
        raise Refusal(f"{log.name} holds no event that could be used")
    if as_json:
        counts = {name: count for name, count in vars(counters).items() if isinstance(count, int)}
        held = {"users": len(contents.users), "items": len(contents.items), "actions": contents.actions(log.vocabulary)}
        period = {"first_ms": contents.first_ms, "last_ms": contents.last_ms}
        done = {"events": delayed.applied, "seconds": seconds, "counters": counts, "skipped": log.skipped}
        print_json(done | held | period)
        return
    click.echo(
        f"{delayed.applied:,} events in {seconds:.1f} s ({delayed.applied / seconds:,.0f}/s): {counters.actions:,} "
        f"applied to histories, {counters.late:,} of them late, {counters.duplicates:,} duplicates, "
        f"{counters.too_old:,} too old; {counters.erasures:,} users erased; "
        f"{counters.sessions_ended:,} sessions left the histories"
    )
    if contents.first_ms is not None and contents.last_ms is not None:
        acts = ", ".join(f"{name} {count:,}" for name, count in contents.actions(log.vocabulary).items())
        click.echo(
            f"{len(contents.users):,} users, {len(contents.items):,} items; {time_text(contents.first_ms)} to "
            f"{time_text(contents.last_ms)}; {acts}"
        )


def _with_progress(log: RecordedLog, variants: Sequence[Variant], plan: Plan) -> ReplayResult:
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=plan.max_queries)

        def show(events: int, ranked: int) -> None:
            progress.update(task, completed=ranked, description=f"{events:,} events, {ranked:,} rankings")

        return replay(log, variants, plan, show)
