"""How fast topics are filled: each record by itself, and in whole batches.

    python -m benchmarks.produce [--kafka-home DIR] [--events 300000] [--rounds 3] [--json FILE]

"carrier" are encoded records, "command" is `rankstream produce` of a Parquet file, reading included. Both carriers take
turns on one broker, which is pinned to the other core where there is one; events a second of the producing process' CPU
time (all of its threads) and of the clock, medians of the rounds.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from unittest.mock import patch
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

from benchmarks.cores import pin
from benchmarks.figures import OF_CPU, OF_WALL, Figure, add_json, write_figures
from benchmarks.workload import events
from rankstream.cli.commands import produce
from rankstream.events.action_event import ActionEvent
from rankstream.streams.broker import EmbeddedBroker, RealKafka
from rankstream.streams.clients.carriers import Carrier, SingleRecords
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, prepare_topics

BROKER_CORE = 1
CARRIERS: dict[str, Callable[[Settings], Carrier]] = {"each by itself": SingleRecords, "whole batches": WholeBatches}


def fresh(servers: str) -> Settings:
    """Return settings of new topics of 4 partitions."""
    settings = Settings(bootstrap_servers=servers, topic_prefix=f"{uuid4().hex[:8]}.", partitions=4)
    asyncio.run(prepare_topics(settings))
    return settings


def send(settings: Settings, carrier: Callable[[Settings], Carrier], records: list[tuple[bytes, bytes]]) -> None:
    """Fill the topic with encoded records."""
    topic = settings.topic_prefix + ACTIONS.name
    with RawProducer(settings, [topic], carrier) as producer:
        for key, value in records:
            producer.send(topic, key, value)


def command(settings: Settings, carrier: Callable[[Settings], Carrier], log: Path) -> None:
    """Run `rankstream produce`."""
    arguments = [str(log), "--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix]
    with patch.object(produce, "WholeBatches", carrier):
        done = CliRunner().invoke(produce.command, arguments, catch_exceptions=False)
    if "sent" not in done.output:
        raise SystemExit(done.output)


def a_log(folder: Path, records: list[tuple[bytes, bytes]]) -> Path:
    """Write the same events as Parquet."""
    decoded = [msgspec.json.decode(value, type=ActionEvent) for _, value in records]
    names = ("user_id", "item_id", "action", "timestamp_ms")
    pq.write_table(pa.table({name: [getattr(one, name) for one in decoded] for name in names}), folder / "log.parquet")
    return folder / "log.parquet"


def figures_of(taken: dict[tuple[str, str], list[tuple[float, float]]], count: int) -> list[Figure]:
    """Return the rates of each way and carrier, of CPU time and of the clock."""
    found = []
    for (way, name), times in taken.items():
        for unit, seconds in zip((OF_CPU, OF_WALL), zip(*times, strict=True), strict=True):
            found.append(Figure.of(f"{way}, {name}", unit, (count / one for one in seconds)))
    return found


def main() -> None:
    """Print a line for each carrier and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kafka-home", type=Path)
    add_json(parser)
    chosen = parser.parse_args()
    records = [(event.key, event.value) for event in events(chosen.events)]
    broker = RealKafka(chosen.kafka_home) if chosen.kafka_home else EmbeddedBroker()
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with broker, tempfile.TemporaryDirectory() as folder:
        if broker.process is not None and (os.cpu_count() or 1) > BROKER_CORE:
            pin(broker.process.pid, BROKER_CORE)
        log = a_log(Path(folder), records)
        ways: dict[str, Callable[[Settings, Callable[[Settings], Carrier]], None]] = {
            "carrier": lambda settings, carrier: send(settings, carrier, records),
            "command": lambda settings, carrier: command(settings, carrier, log),
        }
        for _ in range(chosen.rounds):
            for way, run in ways.items():
                for name, carrier in CARRIERS.items():
                    settings = fresh(broker.bootstrap_servers)
                    wall, cpu = perf_counter(), process_time()
                    run(settings, carrier)
                    taken.setdefault((way, name), []).append((process_time() - cpu, perf_counter() - wall))
    print(f"{'Apache Kafka' if chosen.kafka_home else 'embedded broker'}, {chosen.events:,} events")
    for (way, name), times in taken.items():
        cpu_s, wall_s = (median(column) for column in zip(*times, strict=True))
        of_cpu, of_wall = chosen.events / cpu_s, chosen.events / wall_s
        print(f"  {way}, {name:15} {of_cpu:>11,.0f} events a second of CPU, {of_wall:>11,.0f} a second")
    write_figures(chosen.json, figures_of(taken, chosen.events))


if __name__ == "__main__":
    main()
