"""A schema registry that answers as Confluent's does, and values framed with the ids of its schemas."""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rankstream.streams.settings import Settings

ACTION = {
    "type": "record",
    "name": "Action",
    "namespace": "shop",
    "fields": [
        {"name": "user_id", "type": ["string", "long"]},
        {"name": "item_id", "type": ["null", "string", "long"], "default": None},
        {"name": "action", "type": {"type": "enum", "name": "Kind", "symbols": ["view", "click", "save", "buy"]}},
        {"name": "timestamp_ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "surface", "type": ["null", "string"], "default": None},
        {"name": "value", "type": ["null", "double"], "default": None},
    ],
}
REQUEST = {
    "type": "record",
    "name": "Request",
    "fields": [
        {"name": "request_id", "type": "string"},
        {"name": "user_id", "type": "string"},
        {"name": "limit", "type": ["null", "int"], "default": None},
        {"name": "candidates", "type": ["null", {"type": "array", "items": ["string", "long"]}], "default": None},
    ],
}


class FakeRegistry:
    """What is registered, and how it answers; ``url`` is its address while it is served."""

    def __init__(self) -> None:
        self.url = ""
        self.clear()

    def clear(self) -> None:
        """Forget all that is registered, and answer as a registry does."""
        self.by_id: dict[int, dict[str, Any]] = {}
        self.by_version: dict[tuple[str, int], dict[str, Any]] = {}
        self.authorization: str | None = None  # the header that it wants
        self.broken: int | None = None  # the status that it answers everything with
        self.asked: list[str] = []

    def register(self, schema_id: int, schema: Any, kind: str = "AVRO", references: Sequence[Any] = ()) -> None:
        """Register a schema: a document of Avro, or the text of another kind."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        of_kind = {} if kind == "AVRO" else {"schemaType": kind}
        self.by_id[schema_id] = {"schema": text, **of_kind, "references": list(references)}

    def register_version(self, subject: str, version: int, schema: Any, kind: str = "AVRO") -> dict[str, Any]:
        """Register what others refer to; return the reference."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        self.by_version[subject, version] = {"schema": text, "schemaType": kind, "subject": subject}
        return {"name": subject, "subject": subject, "version": version}

    def answer(self, path: str, authorization: str | None) -> tuple[int, Mapping[str, Any]]:
        """Return status and document."""
        self.asked.append(path)
        if self.broken is not None:
            return self.broken, {"message": "broken"}
        if self.authorization is not None and authorization != self.authorization:
            return 401, {"error_code": 401, "message": "Unauthorized"}
        parts, steps = urlsplit(path), [unquote(one) for one in urlsplit(path).path.strip("/").split("/")]
        found = None
        if steps[:2] == ["schemas", "ids"]:
            found = self.by_id.get(int(steps[2]))
        elif steps[0] == "subjects":
            found = self.by_version.get((steps[1], int(steps[3])))
        else:
            return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}
        if found is None:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        asked_for = parse_qs(parts.query).get("format")
        return 200, found if found.get("schemaType") != "PROTOBUF" or asked_for else found | {"schema": "syntax ..."}

    def take(self, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Register what a serializer sends; return the id."""
        self.asked.append(path)
        schema, kind = document["schema"], document.get("schemaType", "AVRO")
        for schema_id, known in self.by_id.items():
            if (known["schema"], known.get("schemaType", "AVRO")) == (schema, kind):
                return {"id": schema_id, "subject": "taken", "version": 1} | known
        schema_id = max(self.by_id, default=0) + 1
        self.register(schema_id, schema, kind, document.get("references", ()))
        return {"id": schema_id, "subject": "taken", "version": 1} | self.by_id[schema_id]


@contextmanager
def a_registry(port: int = 0) -> Iterator[FakeRegistry]:
    """Serve a registry on this machine."""
    registry = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(*registry.answer(self.path, self.headers.get("Authorization")))

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(200, registry.take(self.path, sent))

        def reply(self, status: int, document: Mapping[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield registry
        server.shutdown()
        thread.join()


def of_registry(registry: FakeRegistry, **more: Any) -> Settings:
    """Return settings that read by the registry."""
    return Settings(value_format=more.pop("value_format", "avro"), schema_registry=registry.url, **more)


def avro(schema_id: int, row: Mapping[str, Any], schema: Any = ACTION) -> bytes:
    """Return a framed value of Avro."""
    import fastavro

    written = BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(schema), row)
    return framed(schema_id, written.getvalue())


def framed(schema_id: int, payload: bytes) -> bytes:
    """Return a value behind the id of its schema."""
    return b"\0" + schema_id.to_bytes(4, "big") + payload


def a_proto_file(name: str = "action.proto") -> Any:
    """Return the descriptor of a .proto file: an action, behind another message, with an import and an enum.

    ::

        message Other {}
        message Action {
          string user_id = 1; int64 item_id = 2; Kind action = 3; google.protobuf.Timestamp timestamp_ms = 4;
          google.protobuf.DoubleValue value = 5; string note = 6;
        }
        enum Kind { view = 0; save = 1; }
    """
    from google.protobuf import descriptor_pb2

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=name, package="shop", syntax="proto3")
    file.dependency.extend(
        ["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto", "confluent/meta.proto"]
    )
    kind = file.enum_type.add(name="Kind")
    for number, one in enumerate(("unset", "view", "save")):
        kind.value.add(name=one, number=number)
    file.message_type.add(name="Other")
    action = file.message_type.add(name="Action")
    for number, (field, of_type, named) in enumerate(
        (
            ("user_id", kinds.TYPE_STRING, ""),
            ("item_id", kinds.TYPE_INT64, ""),
            ("action", kinds.TYPE_ENUM, ".shop.Kind"),
            ("timestamp_ms", kinds.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
            ("value", kinds.TYPE_MESSAGE, ".google.protobuf.DoubleValue"),
            ("note", kinds.TYPE_STRING, ""),
        ),
        start=1,
    ):
        optional = kinds.LABEL_OPTIONAL
        action.field.add(name=field, number=number, type=of_type, type_name=named or None, label=optional)
    return file


def serialized(file: Any) -> str:
    """Return a descriptor as a registry hands it out."""
    return b64encode(file.SerializeToString()).decode()


def an_action_message(**fields: Any) -> Any:
    """Return a message ``Action`` of that file."""
    from google.protobuf import descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2

    pool, file = descriptor_pool.DescriptorPool(), a_proto_file()
    del file.dependency[2:]
    for known in (timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Action"))(**fields)
