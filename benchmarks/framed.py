"""What values of a schema registry cost beside JSON, in CPU time of a worker's core: no broker, no registry.

    python -m benchmarks.framed [--events 50000] [--users 5000] [--rounds 5] [--json FILE]

The same actions as JSON, as Avro by the schema that is published for the topic, and as Protobuf, each by both engines:
record batches are read, framed values made into JSON, and all is applied to users in memory. Schemas are known; what
fetching one takes is paid once. Checkpoints are not in it, which are the same whatever carried an action. The formats
take turns in one process; of other work on the machine the ratios to JSON within a round tell least.
"""

import argparse
import gc
import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from statistics import median
from time import process_time
from typing import Any

import msgspec

from benchmarks.engine import CHUNK, fetches, read
from benchmarks.figures import OF_CPU, TIMES, Figure, add_json, write_figures
from benchmarks.pipeline import StateOnly
from benchmarks.workload import Event, events
from rankstream.features.stores.memory import MemoryStore
from rankstream.streams.avro_schemas import avro_schema_of
from rankstream.streams.engine import PLAIN, Engine, open_engine
from rankstream.streams.framed.reader import SchemaReader
from rankstream.streams.framed.registry import AVRO, PROTOBUF, Registry, Schema
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS

STEPS = ("reading", "to JSON", "applying", "all")
SCHEMA_ID, FIRST_MESSAGE = b"\0\0\0\0\1", b"\0"
Encode = Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True)
class Format:
    """How producers write actions."""

    name: str
    encode: Encode
    schema: Schema | None = None  # of framed values


class OneSchema(Registry):
    """A registry that is asked nothing: it has one schema."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(Settings())
        self._schema = schema

    def schema(self, schema_id: int) -> Schema:
        """Return it."""
        return self._schema


def all_formats() -> list[Format]:
    """Return JSON, Avro and Protobuf."""
    return [Format("JSON", msgspec.json.encode), avro(), protobuf()]


def avro() -> Format:
    """Return Avro, by the schema that `make docs` publishes."""
    import fastavro

    schema = avro_schema_of(ACTIONS)
    parsed = fastavro.parse_schema(schema)

    def encode(row: dict[str, Any]) -> bytes:
        written = BytesIO()
        fastavro.schemaless_writer(written, parsed, row)
        return SCHEMA_ID + written.getvalue()

    return Format("Avro", encode, Schema(AVRO, msgspec.json.encode(schema).decode()))


def protobuf() -> Format:
    """Return Protobuf, by a message of four fields."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="action.proto", package="shop", syntax="proto3")
    action = file.message_type.add(name="Action")
    types = {"user_id": kinds.TYPE_STRING, "item_id": kinds.TYPE_INT64, "action": kinds.TYPE_STRING}
    for number, (name, kind) in enumerate({**types, "timestamp_ms": kinds.TYPE_INT64}.items(), start=1):
        action.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool, serialized = descriptor_pool.DescriptorPool(), file.SerializeToString()
    pool.AddSerializedFile(serialized)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Action"))

    def encode(row: dict[str, Any]) -> bytes:
        written: bytes = message(**row).SerializeToString()
        return SCHEMA_ID + FIRST_MESSAGE + written

    return Format("Protobuf", encode, Schema(PROTOBUF, b64encode(serialized).decode()))


def written(format: Format, count: int, users: int) -> Iterator[Event]:
    """Yield the events of every benchmark as this format has them."""
    for event in events(count, users):
        yield Event(event.key, format.encode(msgspec.json.decode(event.value)), event.timestamp_ms)


def run(format: Format, engine: Engine, fetched: Sequence[bytes]) -> list[float]:
    """Apply all to no users; return the CPU seconds of each step."""
    reader = None if format.schema is None else SchemaReader(OneSchema(format.schema), ACTIONS)
    pipeline = engine.pipeline(engine.users(MemoryStore(), 100), StateOnly())  # type: ignore[arg-type]
    times, offset = [0.0] * 3, 0
    for data in fetched:
        begun = process_time()
        records = read(data, engine, offset)
        times[0] += process_time() - begun
        offset += len(records)
        for at in range(0, len(records), CHUNK):
            begun = process_time()
            some = records[at : at + CHUNK] if reader is None else reader.read(records[at : at + CHUNK])
            made = process_time()
            assert not pipeline.on_actions(some), "dead letters"
            times[1], times[2] = times[1] + made - begun, times[2] + process_time() - made
    return [*times, sum(times)]


def compare(count: int, users: int, rounds: int, formats: Sequence[Format]) -> dict[tuple[str, str], list[list[float]]]:
    """Return what each engine and format took in each round, step by step, after one that is not counted."""
    engines = {"plain": PLAIN} | ({"compiled": open_engine("compiled")} if find_spec("numba") else {})
    fetched = {one.name: fetches(written(one, count, users)) for one in formats}
    by_name = {one.name: one for one in formats}
    found: dict[tuple[str, str], list[list[float]]] = {(name, one.name): [] for name in engines for one in formats}
    gc.collect()
    gc.freeze()  # what was made so far is not looked through again, as in a worker
    for number in range(rounds + 1):
        for (name, kind), runs in found.items():
            took = run(by_name[kind], engines[name], fetched[kind] if number else fetched[kind][:1])
            runs.extend([took] if number else [])
    gc.unfreeze()
    return found


def ratios_of(found: dict[tuple[str, str], list[list[float]]], engine: str, kind: str) -> list[float]:
    """Return how many times the time of JSON a format took, in each round."""
    pairs = zip(found[engine, kind], found[engine, "JSON"], strict=True)
    return [one[-1] / plain[-1] for one, plain in pairs]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    add_json(options)
    options.add_argument("--events", type=int, default=50_000)
    options.add_argument("--users", type=int, default=5_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    found = compare(chosen.events, chosen.users, chosen.rounds, all_formats())
    print(f"{chosen.events:,} events, load average {os.getloadavg()[0]:.1f}; ns of CPU an event, medians")
    print(f"{'':20}" + "".join(f"{step:>10}" for step in STEPS) + f"{'to JSON':>28}")
    figures = []
    for (engine, kind), runs in found.items():
        steps = [1e9 * median(column) / chosen.events for column in zip(*runs, strict=True)]
        ratios = ratios_of(found, engine, kind)
        row = "".join(f"{step:10,.0f}" for step in steps)
        print(f"{engine + ', ' + kind:20}{row}  {median(ratios):8.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        figures.append(Figure.of(f"{engine}, {kind}", OF_CPU, (chosen.events / one[-1] for one in runs)))
        if kind != "JSON":
            figures.append(Figure.of(f"{engine}, {kind} to JSON", TIMES, ratios))
    write_figures(chosen.json, figures)


if __name__ == "__main__":
    main()
