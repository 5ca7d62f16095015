import asyncio
import getpass
from contextlib import suppress
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from hypothesis import given
from hypothesis import strategies as st

from rankstream.streams import connection
from rankstream.streams.connection import connection_of, credentials_of, tls_of
from rankstream.streams.setting_fields import SettingsError, flag, kind_of, variable
from rankstream.streams.settings import Settings, read_origins, read_settings
from rankstream.streams.tokens import AsyncTokens, token_function


def a_file(folder: Path, text: str) -> Path:
    path = folder / "rankstream.toml"
    path.write_text(text)
    return path


def test_every_setting_has_a_default_that_is_allowed():
    assert read_settings({}, {}) == Settings()


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path):
    file = a_file(tmp_path, "partitions = 1\nchunk_size = 1\napp_id = 'file'\n")
    environment = {"RANKSTREAM_PARTITIONS": "2", "RANKSTREAM_CHUNK_SIZE": "2"}
    settings = read_settings({"partitions": "3"}, environment, file)
    assert (settings.partitions, settings.chunk_size, settings.app_id) == (3, 2, "file")


def test_the_sources_of_values_are_known(tmp_path):
    origins = read_origins({"partitions": "3"}, {"RANKSTREAM_APP_ID": "a"}, a_file(tmp_path, "chunk_size = 1"))
    assert origins.sources == {
        "partitions": "--partitions",
        "app_id": "the environment variable RANKSTREAM_APP_ID",
        "chunk_size": f"chunk_size in {tmp_path / 'rankstream.toml'}",
    }


def test_an_empty_variable_and_a_flag_that_was_not_given_change_nothing():
    assert read_settings({"partitions": None}, {"RANKSTREAM_PARTITIONS": ""}) == Settings()


def test_the_file_is_found_where_the_process_starts_and_where_the_environment_points(tmp_path, monkeypatch):
    a_file(tmp_path, "partitions = 5")
    assert read_settings({}, {"RANKSTREAM_CONFIG": str(tmp_path / "rankstream.toml")}).partitions == 5
    monkeypatch.chdir(tmp_path)
    assert read_settings({}, {}).partitions == 5


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("many", "--partitions is 'many'; wanted a whole number"),
        ("2.5", "--partitions is '2.5'; wanted a whole number"),
        ("0", "--partitions is 0; wanted 1 to 10,000"),
        ("nan", "--partitions is 'nan'; wanted a whole number"),
    ],
)
def test_a_bad_value_names_the_flag_and_what_was_wanted(raw, words):
    with pytest.raises(SettingsError) as refused:
        read_settings({"partitions": raw}, {})
    assert str(refused.value) == words


def test_a_bad_value_names_the_variable():
    with pytest.raises(SettingsError, match="RANKSTREAM_CHANGELOG is 'maybe'; wanted true or false"):
        read_settings({}, {"RANKSTREAM_CHANGELOG": "maybe"})


def test_a_number_that_is_none_is_refused():
    with pytest.raises(SettingsError, match=r"--commit-interval-s is nan s; wanted 0\.05 to 60 s"):
        read_settings({"commit_interval_s": "nan"}, {})


def test_a_misspelt_name_in_the_file_is_refused_with_the_right_one(tmp_path):
    with pytest.raises(SettingsError, match="sets 'partition', which is no setting; did you mean partitions"):
        read_settings({}, {}, a_file(tmp_path, "partition = 4"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitions =", "is not TOML"),
        ("partitions = true", "wanted a whole number"),
        ("changelog = 3", "true or false"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, words):
    file = a_file(tmp_path, text)
    with pytest.raises(SettingsError, match=words) as refused:
        read_settings({}, {}, file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.toml can't be read: No such file"):
        read_settings({}, {}, tmp_path / "nowhere.toml")


def test_choices_are_listed():
    with pytest.raises(SettingsError, match="wanted one of PLAINTEXT, SSL"):
        read_settings({"security_protocol": "TLS"}, {})


def test_logging_in_needs_a_name_and_a_password():
    with pytest.raises(SettingsError, match="needs sasl_username and sasl_password"):
        read_settings({"security_protocol": "SASL_SSL", "sasl_username": "me"}, {})


def test_a_token_needs_the_function_that_returns_it():
    with pytest.raises(SettingsError, match="OAUTHBEARER, which needs sasl_oauth_token"):
        Settings(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER")


@pytest.mark.skipif(find_spec("gssapi") is not None, reason="the package is here")
def test_kerberos_needs_no_password_but_the_package_that_asks_for_tickets():
    settings = Settings(security_protocol="SASL_SSL", sasl_mechanism="GSSAPI")
    for arguments_of in (credentials_of, lambda settings: connection_of(settings, AIOKafkaConsumer)):
        with pytest.raises(SettingsError, match=r'pip install "rankstream\[kerberos\]"'):
            arguments_of(settings)


@pytest.mark.parametrize("domain", [None, "kafka.example.org"])
def test_kerberos_asks_for_a_ticket_of_the_principal_that_is_named(monkeypatch, domain):
    monkeypatch.setattr(connection, "find_spec", lambda name: name)
    settings = Settings(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="GSSAPI", sasl_kerberos_service_name="broker",
        sasl_kerberos_domain_name=domain,
    )  # fmt: skip
    arguments, faust = connection_of(settings, AIOKafkaConsumer), credentials_of(settings)
    assert arguments["sasl_kerberos_service_name"] == faust.kerberos_service_name == "broker"
    assert arguments.get("sasl_kerberos_domain_name") == faust.kerberos_domain_name == domain
    assert faust.mechanism.value == arguments["sasl_mechanism"] == "GSSAPI"


@pytest.mark.parametrize("name", ["no_such_module:token", "json:no_such", "json", ":", "string:digits"])
def test_a_token_function_that_is_not_there_is_named(name):
    with pytest.raises(SettingsError, match=f"sasl_oauth_token is '{name}'.*wanted"):
        token_function(name)


def test_a_token_function_is_imported_and_asked_for_each_connection():
    assert token_function("getpass:getuser") is getpass.getuser
    tokens = iter(["first", "second"])
    provider = AsyncTokens(lambda: next(tokens))
    assert [asyncio.run(provider.token()), asyncio.run(provider.token())] == ["first", "second"]


def test_a_certificate_is_shown_where_there_is_tls_only(tmp_path):
    with pytest.raises(SettingsError, match="security_protocol is PLAINTEXT, which shows no certificate"):
        Settings(ssl_certfile=tmp_path / "client.crt")
    with pytest.raises(SettingsError, match="no ssl_certfile that it belongs to"):
        Settings(security_protocol="SSL", ssl_keyfile=tmp_path / "client.key")


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_certfile"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_of_certificates_that_cant_be_used_is_named(tmp_path, name, is_there):
    path = tmp_path / "some.pem"
    if is_there:
        path.write_text("no PEM")
    with pytest.raises(SettingsError, match=rf"{name} .*some\.pem.* can't be used \(.*; wanted .*PEM"):
        tls_of(Settings(security_protocol="SSL", **{name: path}))


def test_a_session_outlasts_three_heartbeats():
    with pytest.raises(SettingsError, match="at least three heartbeats"):
        Settings(session_timeout_s=4.0, heartbeat_interval_s=2.0)


def test_the_password_is_never_shown():
    settings = Settings(security_protocol="SASL_SSL", sasl_username="me", sasl_password="hunter2")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("known", fields(Settings), ids=lambda known: known.name)
def test_names_lead_to_flags_and_variables(known):
    name = known.name
    assert flag(name).removeprefix("--").replace("-", "_") == name
    assert variable(name).removeprefix("RANKSTREAM_").lower() == name
    assert kind_of(known) in (str, int, float, bool, Path)


@given(st.sampled_from(fields(Settings)), st.text(max_size=12))
def test_any_text_is_read_or_refused_and_nothing_else(known, text):
    with suppress(SettingsError):
        assert isinstance(getattr(read_settings({known.name: text}, {}), known.name), kind_of(known))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"value_format": "avro"}, "needs schema_registry"),
        ({"schema_registry": "registry:8081"}, "no URL"),
        ({"schema_registry": "https://u:s3cret@registry"}, "schema_registry_user"),
        ({"schema_registry": "https://registry:8081", "schema_registry_user": "u"}, "wanted both"),
        ({"schema_registry_user": "u", "schema_registry_password": "s3cret", "schema_registry_token": "t"}, "one way"),
        ({"schema_registry_token": "s3cret\n"}, "a line's end"),
    ],
)
def test_a_schema_registry_is_given_whole_and_its_secrets_are_not_shown(wrong, told):
    with pytest.raises(SettingsError, match=told) as caught:
        Settings(**wrong)
    assert "s3cret" not in str(caught.value)


def test_several_registries_may_be_named_and_secrets_are_in_no_text():
    known = {"schema_registry_user": "u", "schema_registry_password": "s3cret"}
    settings = Settings(value_format="avro", schema_registry="https://a:8081/api, http://[::1]:8081/", **known)
    assert "s3cret" not in repr(settings)
