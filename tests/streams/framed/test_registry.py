import json
from base64 import b64encode

import pytest

from rankstream.streams.framed.registry import MissingSchemaError, Registry, RegistryAwayError, Schema
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings
from tests.builders.registry import ACTION, FakeRegistry, a_registry, of_registry

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def served():
    with a_registry() as registry:
        yield registry


@pytest.fixture
def registry(served: FakeRegistry):
    served.clear()
    return served


def test_a_schema_is_asked_for_by_its_id(registry):
    registry.register(7, ACTION)
    assert Registry(of_registry(registry)).schema(7) == Schema("AVRO", json.dumps(ACTION))


def test_what_a_schema_refers_to_comes_before_those_that_refer_to_it(registry):
    inner = registry.register_version("inner", 1, {"name": "I"})
    outer = registry.register_version("out/er", 2, {"name": "O"})
    registry.by_version["out/er", 2]["references"] = [inner]
    registry.register(7, ACTION, references=[outer, inner])
    assert list(Registry(of_registry(registry)).schema(7).references.values()) == ['{"name": "I"}', '{"name": "O"}']


def test_protobuf_is_asked_for_as_descriptors(registry):
    registry.register(7, "CgA=", "PROTOBUF")
    assert Registry(of_registry(registry)).schema(7).text == "CgA="
    assert registry.asked == ["/schemas/ids/7", "/schemas/ids/7?format=serialized"]


def test_only_the_registrys_own_word_says_that_there_is_no_such_schema(registry):
    with pytest.raises(MissingSchemaError, match="no such schema"):
        Registry(of_registry(registry)).schema(8)
    with pytest.raises(RegistryAwayError, match="HTTP 404: is schema_registry the registry's URL"):
        Registry(Settings(schema_registry=f"{registry.url}/elsewhere")).schema(8)


@pytest.mark.parametrize(
    ("status", "told"), [(500, "HTTP 500"), (302, "HTTP 302"), (403, "refuses"), (200, "no schema")]
)
def test_a_registry_that_answers_something_else_is_away(registry, status, told):
    registry.broken = status
    with pytest.raises(RegistryAwayError, match=told):
        Registry(of_registry(registry)).schema(7)


def test_of_several_registries_the_first_that_answers_is_asked(registry):
    registry.register(7, ACTION)
    assert Registry(Settings(schema_registry=f"{NOWHERE}, {registry.url}/")).schema(7).kind == "AVRO"
    with pytest.raises(RegistryAwayError, match="does not answer"):
        Registry(Settings(schema_registry=NOWHERE)).schema(7)


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ({"schema_registry_token": "t0k"}, "Bearer t0k"),
        (
            {"schema_registry_user": "worker", "schema_registry_password": "p:w"},
            f"Basic {b64encode(b'worker:p:w').decode()}",
        ),
    ],
)
def test_it_logs_in_as_it_is_told(registry, given, header):
    registry.register(7, ACTION)
    registry.authorization = header
    assert Registry(of_registry(registry, **given)).schema(7).kind == "AVRO"
    with pytest.raises(RegistryAwayError, match="HTTP 401"):
        Registry(of_registry(registry)).schema(7)


def test_authorities_that_are_no_certificates_are_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(SettingsError, match="schema_registry_cafile"):
        Registry(Settings(schema_registry="https://registry:8081", schema_registry_cafile=tmp_path / "ca.pem"))
