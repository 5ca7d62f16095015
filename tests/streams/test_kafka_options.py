"""Options of the client libraries: handed on to those clients that know them, or refused with what to say instead."""

from inspect import signature

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient

from rankstream.streams.clients.connect import connect
from rankstream.streams.connection import connection_of
from rankstream.streams.kafka_options import HANDED_ON, OWNED, SETTINGS, options_in
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings, read_settings

ASYNC = {name for client in (AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient)
         for name in signature(client).parameters} - {"loop", "topics"}  # fmt: skip
PLAIN = {name for client in (KafkaConsumer, KafkaProducer, KafkaAdminClient) for name in client.DEFAULT_CONFIG}


def test_what_both_libraries_know_is_handed_on_or_rankstreams_own():
    """A new version of either may have options that nobody has thought of."""
    assert set(HANDED_ON) | set(SETTINGS) | set(OWNED) >= ASYNC & PLAIN
    assert set(HANDED_ON) <= ASYNC & PLAIN
    assert not set(HANDED_ON) & (set(SETTINGS) | set(OWNED))
    assert set(SETTINGS.values()) <= set(Settings.__dataclass_fields__)


def test_a_table_of_the_file_a_variable_and_a_flag_say_the_same(tmp_path):
    file = tmp_path / "rankstream.toml"
    file.write_text('partitions = 3\n[kafka]\nclient_rack = "eu-1a"\nfetch_min_bytes = 7\ncheck_crcs = false\n')
    text = "client_rack=eu-1a, fetch_min_bytes=7, check_crcs=false"
    ways = [
        read_settings({}, {}, file),
        read_settings({}, {"RANKSTREAM_KAFKA": text}),
        read_settings({"kafka": text}, {}),
    ]
    for settings in ways:
        assert options_in(settings.kafka, "") == {"client_rack": "eu-1a", "fetch_min_bytes": 7, "check_crcs": False}


def test_each_client_is_given_what_it_knows():
    settings = Settings(kafka="client_id=shop,client_rack=eu-1a,compression_type=lz4")
    consumer, producer, admin = (
        connection_of(settings, client) for client in (AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient)
    )
    assert (consumer["client_id"], consumer["client_rack"], "compression_type" in consumer) == ("shop", "eu-1a", False)
    assert (producer["client_id"], producer["compression_type"], "client_rack" in producer) == ("shop", "lz4", False)
    assert (admin["client_id"], "client_rack" in admin, "compression_type" in admin) == ("shop", False, False)


@pytest.mark.broker
def test_so_are_the_clients_beside_the_workers(bootstrap_servers):
    settings = Settings(bootstrap_servers=bootstrap_servers, kafka="client_id=shop,retry_backoff_ms=50,client_rack=a")
    for make, known in ((KafkaConsumer, True), (KafkaProducer, False), (KafkaAdminClient, False)):
        client = connect(settings, make)
        assert (client.config["client_id"], client.config["retry_backoff_ms"]) == ("shop", 50)
        assert ("client_rack" in client.config) is known
        client.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("acks=0", "--kafka sets acks, which rankstream chooses itself, as what it promises"),
        ("transactional_id=x", "sets transactional_id, which rankstream chooses itself"),
        ("group_id=x", "sets group_id, which is the setting app_id: give it under that name"),
        ("bootstrap_servers=x", "which is the setting bootstrap_servers"),
        ("client.rack=x", "no option that both client libraries have; did you mean client_rack?"),
        ("reconnect_backoff_ms=5", "which is no option that both client libraries have"),
        ("nonsense=5", "those that are handed on are client_id, client_rack"),
        ("fetch_min_bytes=few", "sets fetch_min_bytes to 'few'; wanted a whole number of at least 0"),
        ("fetch_min_bytes=-1", "wanted a whole number"),
        ("check_crcs=maybe", "sets check_crcs to 'maybe'; wanted true or false"),
        ("client_rack", "holds 'client_rack'; wanted name=value"),
        ("client_rack=", "wanted name=value"),
        ("client_rack=a,client_rack=b", "sets client_rack twice"),
    ],
)
def test_others_are_refused_with_what_to_say_instead(text, words):
    with pytest.raises(SettingsError) as refused:
        read_settings({"kafka": text}, {})
    assert words in str(refused.value)
    assert str(refused.value).startswith("--kafka ")


@pytest.mark.parametrize("value", ["[1, 2]", "{ a = 1 }", "1.5"])
def test_what_a_table_of_the_file_can_not_mean_is_refused(tmp_path, value):
    file = tmp_path / "rankstream.toml"
    file.write_text(f"[kafka]\nfetch_min_bytes = {value}\n")
    with pytest.raises(SettingsError, match=r"kafka in .*rankstream\.toml"):
        read_settings({}, {}, file)
