"""`rankstream explain`: why an item has its rank."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.topics import Source, open_rankers, open_source, recorded_topics_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.explanation import show
from rankstream.evaluation.audit.explain import ExplainError, explain
from rankstream.evaluation.audit.explanation import Explanation
from rankstream.evaluation.audit.verify import VerifyError, read_served
from rankstream.evaluation.point_in_time import RankersAsServed, rankers_of_model
from rankstream.events.action_event import Record
from rankstream.events.dumps import DumpError
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.codec import ServedFeatures
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, REQUESTS, SERVED

FEW = 3  # request ids that a refusal offers


@click.command()
@click.option("--request", "request_id", required=True, metavar="ID", help="The request to explain, by its request_id.")
@click.option("--item", "items", multiple=True, metavar="ID", help="Explain this item; again for others.  [the best 3]")
@click.option(
    "--actions",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Show the N actions with the largest effects; --json has all.",
)
@json_option
@recorded_topics_options
@refusing(ClientError, VerifyError, ExplainError, DumpError, BundleRefusedError, BrokenTableError)
def command(
    request_id: str, items: tuple[str, ...], actions: int, as_json: bool, folder: Path | None, settings: Settings
) -> None:
    """Show why an item has its rank.

    Rebuilds the user's state as of the request, ranks again, and takes the answer apart: which actions were known and
    how old they were, which had happened but were still on their way, which vectors were found, each head's
    probability or score, and each term of the utility. Then every action is left out in turn (occlusion) and the
    request is ranked without it: the difference is that action's effect on the item's score and rank. Effects need
    not add up.

    \b
    Reads: served-features, ranking-requests, user-actions (from Kafka, or
           --from a folder of dumps); --bundle, --variant, --user-vectors,
           --item-counts, --item-vectors, --interests, --graph,
           --catalogue and --history-limit as the workers had them

    \b
    Examples:
      rankstream explain --request r1 --bundle bundle --user-vectors vectors/users
      rankstream explain --request r1 --item 11 --item i9 --from monday
      rankstream explain --request r1 --json | jq .items[0].terms
    """
    several, source = open_rankers(settings), open_source(folder, settings)
    served = _answer(source, request_id)
    record = _request(source, served)
    rankers = rankers_of_model(several, served.model_version)
    explanation = _explained(source, served, record, rankers, settings, items)
    if as_json:
        print_json(explanation)
    else:
        show(explanation, actions)


def _answer(source: Source, request_id: str) -> ServedFeatures:
    """Find the last answer to the request."""
    found, answers, few = None, 0, list[str]()
    for record in source.records(SERVED):
        served = read_served(record)
        answers += 1
        if str(served.request_id) == request_id:
            found = served
        elif len(few) < FEW:
            few.append(str(served.request_id))
    if found is None:
        such = f"it holds {answers:,} answers, such as to {', '.join(few)}" if answers else "it holds no answer at all"
        raise Refusal(f"no answer to request {request_id} is in served-features; {such}")
    return found


def _request(source: Source, served: ServedFeatures) -> Record:
    for record in source.records(REQUESTS, served.partition):
        if record.offset == served.offset:
            return record
    raise Refusal(
        f"request {served.request_id} is not in ranking-requests any more (partition {served.partition}, offset "
        f"{served.offset}): brokers keep them for a day; read a dump of that day with --from"
    )


def _explained(
    source: Source,
    served: ServedFeatures,
    record: Record,
    rankers: RankersAsServed,
    settings: Settings,
    items: Sequence[str],
) -> Explanation:
    """Explain, and show on stderr how far the rankings without single actions are."""
    actions: Iterator[Record] = source.records(ACTIONS, served.partition)
    columns = [TextColumn("ranking without each action"), BarColumn(), MofNCompleteColumn()]
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task("", total=None)

    def show_progress(done: int, count: int) -> None:
        if done == 1:
            bars.start()
        bars.update(task, completed=done, total=count)

    try:
        return explain(
            served, record, actions, rankers, settings.history_limit, items, show_progress, settings.forget_after_ms
        )
    finally:
        bars.stop()
