"""`rankstream skip`: have workers pass over records that they can't get past."""

import click
import msgspec

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.streams import skips
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.group import WorkersGroup
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.codec import DeadLetter
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, DEAD_LETTERS, REQUESTS, TopicNames

TOPICS = {"actions": ACTIONS, "requests": REQUESTS}


@click.command()
@click.option("--partition", type=click.IntRange(min=0), required=True, help="Number of the partition.")
@click.option(
    "--to-offset", "to_offset", type=click.IntRange(min=1), required=True, help="First offset to be read again."
)
@click.option(
    "--topic", "name", type=click.Choice(list(TOPICS)), default="actions", show_default=True, help="What to skip."
)
@click.option("--yes", is_flag=True, help="Ask nothing.")
@json_option
@settings_options(*CONNECTED, also=["app_id"])
@refusing(ClientError)
def command(partition: int, to_offset: int, name: str, yes: bool, as_json: bool, settings: Settings) -> None:
    """Have workers pass over records unread.

    For records that end every worker which reads them: those from where the group is to an offset. End all workers
    first. What is skipped is lost to them, though not to the topic: the dead letter of reason "skipped" names the
    offsets. Workers skip it when they next open the partition, wherever their state is.

    \b
    Reads:  the topic's bounds, the group's offsets
    Writes: dead-letters, the group's offset

    \b
    Examples:
      rankstream skip --partition 3 --to-offset 1043
      rankstream skip --partition 3 --to-offset 5001 --topic requests --yes
    """
    topic = TopicNames(settings.topic_prefix).of(TOPICS[name])
    with WorkersGroup(settings) as group:
        group.require_no_members()
        committed, metadata = group.committed(topic, partition)
        begin = _begin(settings, name, partition, to_offset, committed)
        what = f"offsets {begin} to {to_offset - 1} of {topic}, partition {partition}"
        if not yes:
            question = f"{what}: skip these {to_offset - begin:,}, so that no worker reads them?"
            click.confirm(question, abort=True, err=True)
        _send_dead_letter(settings, topic, partition, begin, to_offset)
        group.commit(topic, partition, to_offset, _metadata(name, range(begin, to_offset), metadata))
    if as_json:
        print_json({"topic": topic, "partition": partition, "from_offset": begin, "to_offset": to_offset})
    else:
        click.echo(f"{what} are skipped: start the workers again")


def _metadata(name: str, skipped: range, before: str) -> str:
    """Return what stands beside the moved offset; requests have no other position that would need it."""
    if name != "actions":
        return ""
    earlier = skips.unpacked(before)
    return skips.packed(range(earlier.start, skipped.stop) if earlier.stop == skipped.start else skipped)


def _begin(settings: Settings, name: str, partition: int, to_offset: int, committed: int | None) -> int:
    """Return the first offset to be skipped. Raises ``Refusal`` where there is nothing to skip."""
    with TopicReader(settings, TOPICS[name], from_beginning=True, partition=partition) as reader:
        bounds = reader.bounds().get(partition)
    if bounds is None:
        raise Refusal(f"{reader.topic} has no partition {partition}")
    begin = max(bounds[0], committed or 0)
    if not begin < to_offset <= bounds[1]:
        raise Refusal(
            f"--to-offset {to_offset} skips nothing: the group is at {begin} of {reader.topic}, partition {partition}, "
            f"which ends at {bounds[1]}; give an offset behind the one and not behind the other"
        )
    return begin


def _send_dead_letter(settings: Settings, topic: str, partition: int, begin: int, end: int) -> None:
    """Leave a word where rejected records are looked for; before anything is skipped, as twice does no harm."""
    message = f"offsets {begin} to {end - 1} were skipped unread: `rankstream skip`"
    letter = DeadLetter(skips.SKIPPED, message, topic, partition, begin, wall_clock_ms(), None, None, 0)
    dead_letters = TopicNames(settings.topic_prefix).of(DEAD_LETTERS)
    with RawProducer(settings, [dead_letters]) as producer:
        producer.send(dead_letters, None, msgspec.json.encode(letter))
