"""The description of the routes for machines, OpenAPI 3.1: made from ``ROUTES`` and the structs of the topics."""

from functools import cache
from typing import Any

import msgspec

from rankstream import __version__
from rankstream.gateway.routes import JSON, ROUTES, Route

REFERENCE = "#/components/schemas/{name}"


@cache
def openapi() -> dict[str, Any]:
    """Return the document."""
    kinds = [kind for route in ROUTES for kind in _kinds_of(route)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    schema_of: dict[Any, Any] = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rankstream", "version": __version__, "description": "HTTP beside Kafka."},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _kinds_of(route: Route) -> list[Any]:
    answered = [kind for _, kinds in route.all_answers.values() for kind in kinds]
    return answered if route.body is None else [route.body, *answered]


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    answers = {
        str(status): {"description": why}
        | _content([schema_of[kind] for kind in kinds], route.content if status == 200 else JSON)
        for status, (why, kinds) in sorted(route.all_answers.items())
    }
    operation: dict[str, Any] = {"operationId": route.handler, "summary": route.summary, "responses": answers}
    if route.body is not None:
        operation["requestBody"] = {"required": True} | _content([schema_of[route.body]])
    if "{user}" in route.path:
        user = {"name": "user", "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [user]
    if route.guarded:
        operation["security"] = [{"token": []}, {}]  # nobody is asked for one where none is set
    return operation


def _content(schemas: list[Any], content: str = JSON) -> dict[str, Any]:
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas} if schemas else {"type": "object"}
    return {"content": {content: {"schema": schema}}}
