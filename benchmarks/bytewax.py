"""What people would write with bytewax instead, by its documentation: a stateful map over a keyed stream.

    python -m benchmarks.bytewax [--events 50000] [--rounds 3] [--kafka-home DIR] [--json FILE]

Needs `pip install "bytewax[kafka]"`, which nothing else here does. State and positions go into its recovery store,
which is SQLite on this machine's disk and no topic, every ten seconds, as it is by default; `on_a_topic.py` says how it
is timed.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.on_a_topic import HISTORY, FullTopic, Progress, measure

Action = tuple[str, str, int]  # item, action, time


def work(topic: FullTopic, folder: Path, progress: Progress) -> None:
    """Keep each user's last actions, until the process is ended."""
    import bytewax.operators as op  # here, so that it can be listed where it is not installed
    from bytewax.connectors.kafka import KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.recovery import RecoveryConfig, init_db_dir
    from bytewax.run import cli_main
    from bytewax.testing import TestingSink

    def keyed(message: Any) -> tuple[str, Action]:
        action = json.loads(message.value)
        return message.key.decode(), (action["item_id"], action["action"], action["timestamp_ms"])

    def remember(history: list[Action] | None, action: Action) -> tuple[list[Action], None]:
        progress.applied += 1
        return [*(history or []), action][-HISTORY:], None

    flow = Dataflow("history")
    messages = op.input("actions", flow, KafkaSource([topic.servers], [topic.name]))
    remembered = op.stateful_map("remember", op.map("key", messages, keyed), remember)
    op.output("nowhere", op.filter("nothing", remembered, lambda _: False), TestingSink([]))
    init_db_dir(folder, topic.partitions)
    cli_main(flow, recovery_config=RecoveryConfig(folder))


if __name__ == "__main__":
    measure("benchmarks.bytewax", work, "bytewax", events=50_000)
