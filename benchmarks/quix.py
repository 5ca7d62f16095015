"""What people would write with Quix Streams instead, by its documentation: a stateful function over a dataframe.

    python -m benchmarks.quix [--events 50000] [--rounds 3] [--kafka-home DIR] [--json FILE]

Needs `pip install quixstreams`, which nothing else here does. State is in its RocksDB with a changelog, as it is by
default; `on_a_topic.py` says how it is timed.
"""

from pathlib import Path
from typing import Any

from benchmarks.on_a_topic import HISTORY, FullTopic, Progress, measure


def work(topic: FullTopic, folder: Path, progress: Progress) -> None:
    """Keep each user's last actions, until the process is ended."""
    from quixstreams import Application, State  # here, so that it can be listed where it is not installed

    app = Application(
        broker_address=topic.servers,
        consumer_group=topic.group,
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="WARNING",
    )

    def remember(action: dict[str, Any], state: State) -> dict[str, Any]:
        history = state.get("history", [])
        history.append([action["item_id"], action["action"], action["timestamp_ms"]])
        state.set("history", history[-HISTORY:])
        progress.applied += 1
        return action

    app.dataframe(app.topic(topic.name, value_deserializer="json")).apply(remember, stateful=True)
    app.run()


if __name__ == "__main__":
    measure("benchmarks.quix", work, "Quix Streams", events=50_000)
