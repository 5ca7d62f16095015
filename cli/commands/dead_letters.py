"""`rankstream dead-letters`: what was rejected and why, and sending it again."""

from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import click
import msgspec
from msgspec import UNSET

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.table import Table, console, names, numbers
from rankstream.features.decoding import UNREADABLE
from rankstream.features.ids import id_bytes
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.readers import DeadLetterReader
from rankstream.streams.codec import DeadLetter
from rankstream.streams.pipeline import KILLED_WORKER
from rankstream.streams.settings import Settings
from rankstream.streams.skips import SKIPPED

Position = tuple[str, int, int]  # topic, partition and offset of a rejected record


@click.group(name="dead-letters")
def command() -> None:
    """List rejected records, and send them again.

    A record that a worker can't decode goes to the topic dead-letters with the reason, its topic, partition,
    offset and original bytes.
    """


@command.command(name="list")
@click.option(
    "--reason", metavar="NAME", help="Only dead letters of this reason: not-json, schema, unknown-action, ..."
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Show the newest N.")
@click.option("--json", "as_json", is_flag=True, help="Print all of them, a line of JSON each.")
@settings_options(*CONNECTED)
@refusing(ClientError)
def list_dead_letters(reason: str | None, limit: int, as_json: bool, settings: Settings) -> None:
    """List what was rejected, oldest first, and count it by reason.

    \b
    Reads: dead-letters

    \b
    Example:
      rankstream dead-letters list --reason unknown-action
    """
    with DeadLetterReader(settings) as reader:
        dead_letters = [
            dead_letter for dead_letter in reader.dead_letters() if reason in (None, dead_letter.dead_letter.reason)
        ]
    if as_json:
        for dead_letter in dead_letters:
            click.echo(msgspec.json.encode(dead_letter.dead_letter))
        return
    dead_letters.sort(key=lambda one: one.dead_letter.timestamp_ms)
    console().print(table_of([one.dead_letter for one in dead_letters[-limit:]]))
    click.echo(_counts(Counter(dead_letter.dead_letter.reason for dead_letter in dead_letters)))


def table_of(dead_letters: Sequence[DeadLetter]) -> Table:
    """Return a row for each dead letter."""
    rows = []
    for one in dead_letters:
        at = f"{datetime.fromtimestamp(one.timestamp_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
        rows.append([at, one.reason, one.topic, str(one.partition), str(one.offset), one.message])
    return Table([*names("at (UTC)", "reason", "topic"), *numbers("partition", "offset"), *names("message")], rows)


def _counts(reasons: Counter[str]) -> str:
    if not reasons:
        return "no dead letters"
    return f"{reasons.total():,} dead letters: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())


@command.command()
@click.option("--reason", metavar="NAME", help="Only dead letters of this reason.")
@click.option(
    "--fix-keys",
    is_flag=True,
    help="Key the records by the text of their user_id, or of an item's id, first (key-mismatch).",
)
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError)
def redrive(reason: str | None, fix_keys: bool, dry_run: bool, as_json: bool, settings: Settings) -> None:
    """Send rejected records to their topics again, after their cause is fixed.

    For example after a bundle with a wider vocabulary is served (unknown-action). A record is sent once, however many
    dead letters it has; what is rejected again becomes a new one. Doing it twice is harmless for actions, as the same
    action counts once; requests are answered again. Records of which a dead letter holds only a part are left out and
    counted, and so are those that killed a worker, unless --reason killed-worker asks for them.

    \b
    Reads: dead-letters. Writes: the topics named in the dead letters.

    \b
    Example:
      rankstream dead-letters redrive --reason unknown-action --dry-run
    """
    counts: Counter[str] = Counter()
    with DeadLetterReader(settings) as reader:
        records = list(resent((one.dead_letter for one in reader.dead_letters()), reason, fix_keys, counts))
    if not dry_run and records:
        with RawProducer(settings, sorted({topic for topic, _, _ in records})) as producer:
            for topic, key, value in records:
                producer.send(topic, key, value)
    if as_json:
        print_json({"records": len(records), "sent": not dry_run, "left_out": counts})
    else:
        verb = "would be sent" if dry_run else "were sent"
        click.echo(f"{len(records):,} records {verb} again")
    for what, count in counts.items():
        click.echo(f"left out {count:,}: {what}", err=True)
    if not records and counts:
        raise Refusal("there was nothing that can be sent again")


def resent(
    dead_letters: Iterable[DeadLetter], reason: str | None, fix_keys: bool, counts: Counter[str]
) -> Iterator[tuple[str, bytes | None, bytes]]:
    """Yield topic, key and value of each record once; count those left out by reason."""
    seen: set[Position] = set()
    for one in (each for each in dead_letters if reason in (None, each.reason)):
        position = (one.topic, one.partition, one.offset)
        if position in seen:
            continue
        seen.add(position)
        if one.reason == KILLED_WORKER and reason is None:
            counts["it killed a worker (--reason killed-worker sends it)"] += 1
            continue
        try:
            value = b64decode(one.value_base64 or "")
            key = None if one.key_base64 is None else b64decode(one.key_base64)
        except ValueError:
            counts["its key_base64 or value_base64 is no base64: no worker wrote it"] += 1
            continue
        if one.reason == SKIPPED:
            counts["it names offsets that were skipped"] += 1
        elif one.value_base64 is None:
            counts["the record was empty"] += 1
        elif len(value) < one.value_bytes or (one.key_bytes is not UNSET and not fix_keys):
            counts["the dead letter holds only a part of a large record"] += 1
        else:
            yield one.topic, _fixed_key(value, key) if fix_keys else key, value


def _fixed_key(value: bytes, key: bytes | None) -> bytes | None:
    owner = _owner_of(value)
    return key if owner is None else id_bytes(owner)


def _owner_of(value: bytes) -> int | str | None:
    """Return the user_id of an action or a request, or the id of an item, if there is one."""
    try:
        fields = msgspec.json.decode(value)
    except UNREADABLE:
        return None
    owner = fields.get("user_id", fields.get("id")) if isinstance(fields, dict) else None
    return owner if type(owner) in (int, str) else None
