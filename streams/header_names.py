"""Names of headers that are not UTF-8, as a producer in Go or C may send: they are read with U+FFFD for what is not.

aiokafka and kafka-python decode names strictly. So one byte in a name that nobody here reads would cost the rest of its
batch where a worker reads it, and stop for good whoever reads the topic by kafka-python.

Names of both clients used here are not public: aiokafka is pinned, and of kafka-python
``tests/streams/test_header_names.py`` holds that they are there.
"""

from typing import Any

from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint_py
from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch


class ReplacingBytes(bytearray):
    """Bytes that decode whatever they hold, and so do their parts."""

    def __getitem__(self, at: Any) -> Any:
        """Return a byte, or a part that decodes likewise."""
        found = super().__getitem__(at)
        return ReplacingBytes(found) if isinstance(at, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        """Return the text."""
        return bytes(self).decode(encoding, errors)


class AnyNames:
    """What makes a batch of either client read names of any bytes; a record that is whole is read as ever."""

    _buffer: bytearray

    def _read_msg(self, *how: Any) -> Any:
        try:
            return super()._read_msg(*how)  # type: ignore[misc]
        except UnicodeDecodeError:  # the record is begun again: where it ends is noted behind it
            self._buffer = ReplacingBytes(self._buffer)
            return super()._read_msg(*how)  # type: ignore[misc]


class PlainBatch(AnyNames, _DefaultRecordBatchPy):  # type: ignore[misc]
    """aiokafka's batch that is read by Python, numbers too: the compiled reader of those looks beyond a buffer's end.

    Of a damaged batch that ends the process.
    """

    def _read_msg(self, *how: Any) -> Any:
        return super()._read_msg(decode_varint_py)


class ClientsBatch(AnyNames, DefaultRecordBatch):  # type: ignore[misc]
    """kafka-python's batch."""


def read_any_names() -> None:
    """Have kafka-python's consumers in this process read names of any bytes."""
    memory_records.DefaultRecordBatch = ClientsBatch
