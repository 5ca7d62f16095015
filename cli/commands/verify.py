"""`rankstream verify`: whether the log reproduces, to the bit, what was served."""

from pathlib import Path

import click
from rich.text import Text

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import offset_range
from rankstream.cli.options.topics import open_rankers, open_source, recorded_topics_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.table import Table, console, names, numbers
from rankstream.evaluation.audit.verify import Report, VerifyError, verify
from rankstream.events.dumps import DumpError
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.time_order import OffsetRange
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, REQUESTS, SERVED

SHOWN = 20  # differences in the table


@click.command()
@click.option("--partition", type=click.IntRange(min=0), metavar="N", help="Only answers of this partition.")
@click.option(
    "--offsets", callback=offset_range, metavar="FIRST:END", help="Only answers at these offsets of a partition."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="NUMBER",
    help="Ignore differences of scores up to this; 1e-5 on another machine than the worker's.",
)
@json_option
@recorded_topics_options
@refusing(ClientError, VerifyError, DumpError, BundleRefusedError, BrokenTableError)
def command(
    partition: int | None,
    offsets: OffsetRange,
    tolerance: float,
    as_json: bool,
    folder: Path | None,
    settings: Settings,
) -> int:
    """Recompute what was served, from the log, and compare to the bit.

    A worker started with --served-features writes beside each feed what it was made from: the offset of the user's
    last known action, a hash of the model's input bytes, the scores. This command rebuilds every user's state at that
    offset, with the very code that served, ranks the request again and compares hash with hash, score with score. No
    difference means: a replay of this log shows what users were shown.

    \b
    Reads:  served-features, ranking-requests, user-actions (from Kafka, or
            --from a folder of dumps); --bundle, --variant, --user-vectors,
            --item-counts, --item-vectors, --interests, --graph,
            --catalogue and --history-limit as the workers had them
    Ends:   0 no difference; 1 differences, each named; 2 nothing could be
            verified, and why

    A difference names what differs. "state": the log has other actions than the worker had. "features": the same
    actions, but other bytes for the model, as when a table was changed. "scores", "order": the model itself. Answers of
    another model, or from before the log begins, are counted apart with the reason. With --variant each answer is held
    against the bundle whose model it names; who had which is in the records, so share and salt are not asked for. On
    another machine than the worker's, processors round otherwise: add --tolerance 1e-5.

    \b
    Examples:
      rankstream verify --bundle bundle --user-vectors vectors/users
      rankstream topics dump monday && rankstream verify --from monday
      rankstream verify --partition 3 --offsets 1000:2000 --json
    """
    (rankers, *beside), source = open_rankers(settings), open_source(folder, settings)
    served = (record for record in source.records(SERVED, partition) if record.offset in offsets)
    requests, actions = source.records(REQUESTS, partition), source.records(ACTIONS, partition)
    kept = settings.history_limit, tolerance, settings.forget_after_ms
    report = verify(served, requests, actions, rankers, *kept, *beside)
    if as_json:
        print_json(report.as_dict())
    else:
        show(report)
    if not report.verified and not report.differences:
        raise Refusal(_nothing(report))
    return 1 if report.differences else 0


def _nothing(report: Report) -> str:
    if not report.answers:
        return "there is no answer to verify: nothing was served with --served-features, or no offset is in the range"
    (reason, _), *_ = report.unverified.most_common()
    return f"none of {report.answers:,} answers could be verified; the most common reason: {reason}"


def show(report: Report) -> None:
    """Print a report for people."""
    screen = console()
    if report.differences:
        screen.print(differences_table(report))
    for reason, count in report.unverified.most_common():
        screen.print(Text.assemble((f"{count:,} could not be verified", "yellow"), f": {reason}"))
    screen.print(_verdict(report))
    tables = ", ".join(sorted(version or "none" for version in report.user_vectors)) or "none"
    share = report.ranking_seconds / report.seconds if report.seconds else 0.0
    spent = f"{report.actions_read:,} actions read; {report.seconds:.1f} s, {share:.0%} of it ranking"
    counts = ", ".join(sorted(version or "the bundle's own" for version in report.item_counts)) or "none"
    items = ", ".join(sorted(version or "the bundle's own" for version in report.item_vectors)) or "none"
    versions = f"user vectors {tables}; item counts {counts}; item vectors {items}"
    if catalogues := sorted(report.catalogues):
        more = f" and {len(catalogues) - 1:,} before it" if len(catalogues) > 1 else ""
        versions += f"; catalogue {catalogues[-1]}{more}"
    if report.scorers:
        versions += f"; scorer {', '.join(sorted(report.scorers))}"
    models = f"model {report.model_version}"
    if report.variant_model_version is not None:
        models += f", variant {report.variant_model_version}"
    screen.print(Text(f"{models}; {versions}; {spent}", "dim"))


def _verdict(report: Report) -> Text:
    checked = report.verified + len(report.differences)
    counts = f"{checked:,} of {report.answers:,} answers to {report.requests:,} requests verified: "
    if report.differences:
        return Text.assemble(counts, (f"{len(report.differences):,} differ", "bold red"))
    if not report.verified:
        return Text.assemble(counts, ("nothing could be verified", "bold yellow"))
    if not report.tolerance:
        return Text.assemble(counts, ("0 differences, identical to the bit", "bold green"))
    within = f"0 differences beyond {report.tolerance:g}"
    others = f"; {report.other_features:,} had other bytes of features" if report.other_features else ""
    return Text.assemble(counts, (within, "bold green"), others)


def differences_table(report: Report) -> Table:
    """Return a row for each of the first differences."""
    rows = []
    for one in report.differences[:SHOWN]:
        offsets = (str(one.partition), str(one.state_offset))
        rows.append([str(one.request_id), str(one.user_id), *offsets, ", ".join(one.fields), one.message])
    more = len(report.differences) - SHOWN
    columns = [*names("request", "user"), *numbers("partition", "state offset"), *names("differs", "how")]
    return Table(columns, rows, notes=[f"and {more:,} more: --json has them all"] if more > 0 else [])
