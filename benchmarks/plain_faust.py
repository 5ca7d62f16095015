"""What people would write with Faust instead, by its documentation: an agent, a model, a table in RocksDB.

    python -m benchmarks.plain_faust [--events 20000] [--rounds 3] [--kafka-home DIR] [--json FILE]

One event at a time, state as JSON, a record of the changelog an event; `on_a_topic.py` says how it is timed. The topic
is keyed by user already, so nothing is regrouped.
"""

from pathlib import Path

import faust

from benchmarks.on_a_topic import HISTORY, FullTopic, Progress, measure


class Action(faust.Record, serializer="json"):
    """An event of the topic."""

    user_id: str
    item_id: int
    action: str
    timestamp_ms: int


def work(topic: FullTopic, folder: Path, progress: Progress) -> None:
    """Keep each user's last actions, until the process is ended."""
    app = faust.App(
        topic.group,
        broker=f"kafka://{topic.servers}",
        store="rocksdb://",
        datadir=folder,
        topic_partitions=topic.partitions,
        topic_replication_factor=1,
        web_enabled=False,
    )
    actions = app.topic(topic.name, value_type=Action)
    histories = app.Table("histories", default=list, partitions=topic.partitions)

    @app.agent(actions)
    async def remember(stream: faust.StreamT[Action]) -> None:
        async for action in stream:
            history = histories[action.user_id]
            history.append([action.item_id, action.action, action.timestamp_ms])
            histories[action.user_id] = history[-HISTORY:]
            progress.applied += 1

    app.Worker(loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    measure("benchmarks.plain_faust", work, "plain Faust", events=20_000)
