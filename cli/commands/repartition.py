"""`rankstream repartition`: move users to topics with another number of partitions."""

import asyncio
from dataclasses import replace

import click
from aiokafka.errors import KafkaError

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.streams.clients.connect import ClientError, require_topics
from rankstream.streams.clients.group import WorkersGroup
from rankstream.streams.clients.rights import READ
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, CHANGELOG, TopicNames, TopicsRefusedError
from rankstream.streams.worker.logged_states import RestoreError
from rankstream.streams.worker.repartition import Moved, repartition


@click.command()
@click.option("--partitions", type=click.IntRange(min=1), required=True, help="How many the new topics have.")
@click.option("--to-prefix", required=True, metavar="TEXT", help="What stands before the names of the new topics.")
@json_option
@settings_options(*CONNECTED, also=["app_id", "replication_factor", "restore_deadline_s"])
@refusing(ClientError, TopicsRefusedError, RestoreError)
def command(partitions: int, to_prefix: str, as_json: bool, settings: Settings) -> None:
    """Move all users to topics with another number of partitions.

    A user's partition follows from the number of partitions, so it can't be changed in place. This makes new topics,
    writes each user's state to their changelog, reads it back and compares it, and sends the actions that no worker has
    applied yet to the new user-actions. The old topics stay as they are. Requests are not taken along.

    First let all producers send to the new topics, then end all workers; an action that comes to the old topic
    meanwhile is noticed and refused. Afterwards start workers with the new --topic-prefix.

    \b
    Reads:  user-actions and user-state-changelog, the group's state
    Writes: the same topics with the new prefix

    \b
    Examples:
      rankstream repartition --partitions 24 --to-prefix v2.
      rankstream topics create --partitions 24 --topic-prefix v2.
    """
    if to_prefix == settings.topic_prefix:
        raise Refusal(f"--to-prefix {to_prefix!r} is the prefix of the topics that are there: name another one")
    if settings.partitioner != "murmur2" or not settings.changelog:
        raise Refusal(
            "users are moved by murmur2 from the changelog: not with partitioner = any, nor without changelog"
        )
    names = TopicNames(settings.topic_prefix)
    require_topics(settings, [names.of(ACTIONS), names.of(CHANGELOG)], READ)
    with WorkersGroup(settings) as group:
        group.require_no_members()
    moved = _repartitioned(settings, replace(settings, topic_prefix=to_prefix, partitions=partitions))
    if as_json:
        print_json(moved)
        return
    click.echo(
        f"{moved.users:,} users of {moved.from_partitions} partitions are in {moved.partitions} now, each once, read "
        f"back and compared; {moved.actions:,} actions that no worker had applied were sent on: start workers with "
        f"--topic-prefix {to_prefix}"
    )


def _repartitioned(old: Settings, new: Settings) -> Moved:
    try:
        return asyncio.run(repartition(old, new))
    except (KafkaError, TimeoutError) as exc:
        raise Refusal(
            f"the brokers at {old.bootstrap_servers} did not do it ({type(exc).__name__}: {exc}), so the new topics "
            f"may hold a part: delete {TopicNames(new.topic_prefix).of(CHANGELOG)}, and again"
        ) from exc
