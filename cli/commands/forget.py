"""`rankstream forget`: erase users, by a record each that every worker and every replay honours."""

import click
import msgspec

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.logs import to_time_ms
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.evaluation.time_text import time_text
from rankstream.events.action_event import FORGET, ErasureEvent
from rankstream.features.ids import MAX_ID_BYTES, id_bytes
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, TopicNames


@click.command()
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@click.option(
    "--at",
    "at_ms",
    callback=to_time_ms,
    metavar="TIME",
    help="Forget what was done up to TIME, and keep what came after.  [default: now]",
)
@click.option("--yes", is_flag=True, help="Ask nothing.")
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError)
def command(users: tuple[str, ...], at_ms: int | None, yes: bool, as_json: bool, settings: Settings) -> None:
    """Erase users: workers and replays forget all that they did.

    Sends a record a user and waits until the brokers have them. From that record on workers know nothing of what the
    user did before, whatever comes late, twice or again; an action after it starts a new user. It can't be taken back.
    What was written before stays where it is until its retention ends: docs/operations.md, "Erase a user".

    \b
    Writes: user-actions

    \b
    Examples:
      rankstream forget u1 7
      rankstream forget u1 --at 2026-03-01T12:00 --yes
    """
    erased = list(dict.fromkeys(users))
    as_of_ms = _as_of(at_ms)
    for user in erased:
        if not 0 < len(id_bytes(user)) <= MAX_ID_BYTES:
            raise Refusal(f"{user[:40]!r} is no id of a user; wanted a text of 1 to {MAX_ID_BYTES} bytes")
    topic = TopicNames(settings.topic_prefix).of(ACTIONS)
    if not yes:
        these = "this user" if len(erased) == 1 else f"these {len(erased):,} users"
        question = f"{', '.join(erased)}: forget what {these} did up to {time_text(as_of_ms)}?"
        click.confirm(question, abort=True, err=True)
    with RawProducer(settings, [topic]) as producer:
        for user in erased:
            event = ErasureEvent(user, FORGET, as_of_ms)
            producer.send(topic, id_bytes(user), msgspec.json.encode(event))
    if as_json:
        print_json({"users": erased, "as_of_ms": as_of_ms, "topic": topic})
    else:
        users_are = "1 user is" if len(erased) == 1 else f"{len(erased):,} users are"
        click.echo(f"{users_are} erased as of {time_text(as_of_ms)}: the brokers have it in {topic}")


def _as_of(at_ms: int | None) -> int:
    """Return the time of the erasure. Raises ``Refusal`` for one that is still to come."""
    now_ms = wall_clock_ms()
    if at_ms is not None and at_ms > now_ms:
        raise Refusal(f"--at {time_text(at_ms)} is still to come; what users will do then can't be forgotten now")
    return now_ms if at_ms is None else at_ms
