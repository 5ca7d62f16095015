"""Protobuf by a registered schema: the bytes of a message to the fields that a topic has, by name.

Google's own library decodes, by descriptors as the registry serializes them. What is not on the wire is absent: a field
of proto3 without ``optional`` does not tell 0 or "" from nothing, so such a value counts as not given.
"""

from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rankstream.events.action_event import Rejected
from rankstream.streams.framed.avro import Row
from rankstream.streams.framed.avro_bounds import UnusableSchemaError
from rankstream.streams.framed.frame import UNDECODABLE, message_path, payload_of

WELL_KNOWN = ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers", "descriptor")
OPTIONS_ONLY = "confluent/meta.proto"  # options of fields, which no value is decoded by
WRAPPERS = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String")
VALUE_IN = frozenset(f"google.protobuf.{one}Value" for one in WRAPPERS)
TIMESTAMP = "google.protobuf.Timestamp"


class ProtobufDecoder:
    """Decodes values of one .proto file, whichever of its messages they are, into the fields ``names``."""

    def __init__(self, schema: str, references: Mapping[str, str], names: Collection[str]) -> None:
        """Open a schema; it, and what it imports, by name, as serialized descriptors in Base64.

        Raises ``UnusableSchemaError``, and ``ImportError`` without protobuf.
        """
        from google.protobuf import descriptor_pool

        self._pool, self._names = descriptor_pool.DescriptorPool(), names
        self._messages: dict[tuple[int, ...], Any] = {}
        for name in WELL_KNOWN:
            self._add_well_known(f"google/protobuf/{name}.proto")
        for name, text in references.items():
            self._add(text, name)
        self._file = self._pool.FindFileByName(self._add(schema, None))

    def __call__(self, value: bytes) -> Row:
        """Return the fields of a framed value that are on the wire. Raises ``Rejected``."""
        from google.protobuf.message import DecodeError

        path, payload = message_path(payload_of(value))
        if path not in self._messages:
            self._messages[path] = self._message(path)
        try:
            message = self._messages[path].FromString(payload)
        except DecodeError as exc:
            raise Rejected(UNDECODABLE, f"it does not decode by its schema: {exc}") from None
        return {field.name: _plain(field, one) for field, one in message.ListFields() if field.name in self._names}

    def _add_well_known(self, name: str) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool

        __import__(f"google.protobuf.{name.split('/')[-1].removesuffix('.proto')}_pb2")
        found = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(name).CopyToProto(found)
        self._pool.AddSerializedFile(found.SerializeToString())

    def _add(self, text: str, name: str | None) -> str:
        """Add a file to the pool, under the name that others import it by; return its name."""
        from google.protobuf import descriptor_pb2
        from google.protobuf.message import DecodeError

        try:
            file = descriptor_pb2.FileDescriptorProto.FromString(b64decode(text, validate=True))
            if OPTIONS_ONLY in file.dependency:
                kept = [one for one in file.dependency if one != OPTIONS_ONLY]
                del file.dependency[:]
                file.dependency.extend(kept)
            file.name = name or file.name or "schema.proto"
            self._pool.AddSerializedFile(file.SerializeToString())
            self._pool.FindFileByName(file.name)
        except (ValueError, DecodeError) as exc:
            raise UnusableSchemaError(
                "the registry does not hand it out as a descriptor (?format=serialized), as those of Confluent, "
                f"Karapace and Redpanda do: {str(exc)[:200]}"
            ) from None
        except (TypeError, KeyError) as exc:
            raise UnusableSchemaError(f"its descriptor is not whole: {str(exc)[:200]}") from None
        return str(file.name)

    def _message(self, path: Sequence[int]) -> Any:
        """Return the class of a message, by its index at each level. Raises ``Rejected``."""
        from google.protobuf import message_factory

        within, found = list(self._file.message_types_by_name.values()), None
        for index in path:
            if not 0 <= index < len(within):
                raise Rejected(UNDECODABLE, f"its schema has no message at {list(path)}; is it of another?")
            found = within[index]
            within = list(found.nested_types)
        return message_factory.GetMessageClass(found)


def _plain(field: Any, value: Any) -> Any:
    """Return the value of a field as JSON has it."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_values = field.message_type.fields_by_name["value"]
        return {str(key): _one(of_values, one) for key, one in value.items()}
    return [_one(field, one) for one in value] if _is_repeated(field) else _one(field, value)


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _one(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _of_message(field.message_type.full_name, value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    if isinstance(value, bytes):
        raise Rejected(UNDECODABLE, f"the field {field.name} is of bytes, which JSON has not: make it a string")
    return value


def _of_message(name: str, message: Any) -> Any:
    if name == TIMESTAMP:
        return message.seconds * 1_000 + message.nanos // 1_000_000
    if name in VALUE_IN:
        return message.value
    return {field.name: _plain(field, one) for field, one in message.ListFields()}
