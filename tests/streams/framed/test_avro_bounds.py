"""Schemas that were made to do harm are refused before anything is decoded by them."""

from typing import Any

import pytest

from rankstream.streams.framed.avro_bounds import MAX_DEPTH, Measure, UnusableSchemaError


def a_record(name: str, *types: Any) -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": of_type} for number, of_type in enumerate(types)]
    return {"type": "record", "name": name, "fields": fields}


def an_array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def nested(depth: int) -> Any:
    schema: Any = "string"
    for _ in range(depth):
        schema = an_array(schema)
    return schema


def a_chain(length: int) -> Any:
    """Records, each of which holds the one before it by name."""
    records = [a_record("R0", "string"), *(a_record(f"R{at}", f"R{at - 1}") for at in range(1, length))]
    return a_record("Top", *records)


def doubling(levels: int, last: str) -> Any:
    """Records, each of which holds the one before it twice, and a text."""
    records = [
        a_record("R0", last),
        *(a_record(f"R{at}", f"R{at - 1}", f"R{at - 1}", "string") for at in range(1, levels)),
    ]
    return a_record("Top", *records)


HOSTILE = {
    "holds itself": a_record("R", ["null", "R"]),
    "holds itself, by": a_record("R", an_array(a_record("S", "R"))),
    "any number": a_record("R", an_array("null")),
    "so a few bytes hold": a_record("R", an_array(a_record("S", "null", a_record("T")))),
    "more than 8 fields that take no bytes": a_record("R", an_array(a_record("S", "int", *["null"] * 9))),
    "nested deeper than": nested(MAX_DEPTH + 1),
    "deeper": nested(900),
    "nested": a_chain(MAX_DEPTH + 1),
    "types, those in records": doubling(14, "string"),
    "take no bytes": doubling(30, "null"),
    "union of no types": a_record("R", []),
    "where a type is wanted": a_record("R", 7),
}


@pytest.mark.parametrize("told", HOSTILE)
def test_a_schema_that_could_cost_too_much_is_refused(told):
    with pytest.raises(UnusableSchemaError, match=told.split(",")[0] if "by" in told else told):
        Measure().cost(HOSTILE[told])


def test_a_table_as_teams_have_them_is_let_through():
    line = a_record("Line", "string", ["null", "double"], {"type": "map", "values": "string"})
    schema = a_record(
        "Order", *[["null", "string"]] * 200, an_array(line), ["null", "Line"], an_array(["null", "Line"])
    )
    assert Measure().cost(schema).free <= 3


def test_a_field_that_is_read_is_no_list_of_records():
    with pytest.raises(UnusableSchemaError, match="make it one of ids"):
        Measure().cost(an_array(a_record("S", "string")), kept=True)


def test_a_name_is_looked_for_in_the_namespace_around_it():
    inner = a_record("Inner", "string") | {"namespace": "far"}
    measure = Measure()
    measure.cost(a_record("Top", inner, "far.Inner") | {"namespace": "near"})
    assert sorted(measure.definitions) == ["far.Inner", "near.Top"]
    with pytest.raises(UnusableSchemaError, match="'Inner' is defined nowhere"):
        Measure().cost(a_record("Top", inner, "Inner") | {"namespace": "near"})
