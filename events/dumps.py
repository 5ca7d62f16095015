"""Topics as files: a line of JSON a record, made to be read by people, by `jq` and by ``rankstream verify --from``.

::

    {"partition": 3, "offset": 17, "timestamp_ms": 1700000000000, "key": "u1", "value": {"user_id": "u1", ...}}

A value that is JSON stands in the line byte for byte; any other, and a key that is not text, stands there as
``value_base64`` and ``key_base64``. So what is read back is what was in the topic, to the byte; of values framed by a
schema registry the JSON that they were read as, and where that was not possible the bytes that were sent.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from rankstream.events.action_event import Record, Recorded, Unread, sent_value
from rankstream.features.decoding import UNREADABLE
from rankstream.features.files import whole_file

LINE_ENDS = b"\n\r"  # a value with such a byte can't stand in a line


class DumpError(ValueError):
    """A dump that can't be read; one sentence with what to do."""


class Line(Struct, frozen=True, omit_defaults=True):
    """One record of a dump; numbers are as wide as Kafka's."""

    partition: Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
    offset: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    timestamp_ms: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    key: str | None = None
    key_base64: str | None = None
    value: Raw | UnsetType = UNSET
    value_base64: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def dump_path(folder: Path, topic: str) -> Path:
    """Return the file of a topic (its name without the prefix) in a folder of dumps."""
    return folder / f"{topic}.jsonl"


def write_dump(path: Path, records: Iterable[Record]) -> int:
    """Write records as they come and return how many; the file is there whole or not at all."""
    count = 0
    with whole_file(path) as beside, beside.open("wb") as file:
        for record in records:
            file.write(_encode(_line(record)) + b"\n")
            count += 1
    return count


def _line(record: Record) -> Line:
    key, value = record.key, sent_value(record) if isinstance(record.value, Unread) else record.value
    text = _text(key)
    as_json = value is not None and _is_json(value)
    return Line(
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=text,
        key_base64=b64encode(key).decode() if key is not None and text is None else None,
        value=Raw(value) if value is not None and as_json else UNSET,
        value_base64=b64encode(value).decode() if value is not None and not as_json else None,
    )


def _text(key: bytes | None) -> str | None:
    try:
        return None if key is None else key.decode()
    except UnicodeDecodeError:
        return None


def _is_json(value: bytes) -> bool:
    """Return whether a value can stand in a line as it is."""
    if value != value.strip() or any(byte in value for byte in LINE_ENDS):
        return False
    try:
        value.decode()
        msgspec.json.decode(value)
    except UNREADABLE:
        return False
    return True


def record_of(line: bytes, topic: str) -> Recorded:
    """Return the record of one line. Raises ``DumpError`` with what is wrong with it."""
    try:
        return _record(_decode(line), topic)
    except (*UNREADABLE, ValueError) as exc:  # of base64: no such digits, or no ASCII
        raise DumpError(str(exc)) from exc


def read_dump(path: Path, topic: str) -> Iterator[Recorded]:
    """Yield the records of a dump in the file's order. Raises ``DumpError``."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if raw.strip():
                try:
                    yield record_of(raw, topic)
                except DumpError as exc:
                    raise DumpError(
                        f"line {number:,} of {path} is no record of a dump ({exc}); write the dump again with "
                        "`rankstream topics dump`"
                    ) from exc


def _record(line: Line, topic: str) -> Recorded:
    key = None if line.key is None else line.key.encode()
    value = None if isinstance(line.value, UnsetType) else bytes(line.value)
    return Recorded(
        topic=topic,
        partition=line.partition,
        offset=line.offset,
        timestamp=line.timestamp_ms,
        key=key if line.key_base64 is None else b64decode(line.key_base64, validate=True),
        value=value if line.value_base64 is None else b64decode(line.value_base64, validate=True),
    )
