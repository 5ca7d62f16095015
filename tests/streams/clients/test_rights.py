"""What is lacking is told from the brokers' answer, by its names and with the command that grants it."""

import pytest
from aiokafka.errors import TopicAuthorizationFailedError as AsyncDenial
from kafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError

from rankstream.streams.clients.rights import (
    GROUP,
    READ,
    TOPIC,
    TRANSACTIONAL_ID,
    WRITE,
    Lacking,
    is_denial,
    lacking_on_topics,
    principal_of,
    told,
)
from rankstream.streams.settings import Settings

ME = Settings(
    bootstrap_servers="k1:9093,k2:9093", security_protocol="SASL_SSL", sasl_username="me", sasl_password="hunter2"
)


def lacking(*described: dict[str, object]) -> list[Lacking]:
    return lacking_on_topics(described, {"a": (READ, WRITE)})


def test_what_is_not_among_the_operations_that_are_allowed_is_lacking():
    assert lacking({"name": "a", "error_code": 0, "authorized_operations": ["READ", "DESCRIBE"]}) == [
        Lacking(TOPIC, "a", (WRITE,))
    ]
    assert lacking({"name": "a", "error_code": 0, "authorized_operations": ["READ", "WRITE"]}) == []


def test_a_topic_that_is_denied_may_also_be_missing():
    assert lacking({"name": "a", "error_code": 29, "authorized_operations": None}) == [
        Lacking(TOPIC, "a", (READ, WRITE), unseen=True)
    ]


def test_a_broker_that_tells_nothing_denies_nothing_and_one_that_knows_no_topic_neither():
    assert lacking({"name": "a", "error_code": 0, "authorized_operations": None}) == []
    assert lacking({"name": "a", "error_code": 3, "authorized_operations": None}) == []
    assert lacking() == []


def test_things_that_lack_the_same_stand_in_one_command():
    what = [Lacking(GROUP, "app", (READ,)), Lacking(TOPIC, "a", (READ,)), Lacking(TOPIC, "b", (READ,))]
    grant = "kafka-acls.sh --bootstrap-server k1:9093 --add --allow-principal 'User:me' --operation Read"
    assert told(what, ME) == (
        "User:me lacks Read on the topics a, b, Read on the group app; who may grants it by: "
        f"{grant} --topic a --topic b && {grant} --group app"
    )


def test_transactional_ids_are_granted_by_their_beginning():
    words = told([Lacking(TRANSACTIONAL_ID, "app", (WRITE,), prefixed=True)], ME)
    assert "lacks Write on the transactional ids that begin with app;" in words
    assert words.endswith("--transactional-id app --resource-pattern-type prefixed")


@pytest.mark.parametrize(
    ("settings", "who"),
    [
        (ME, "User:me"),
        (Settings(), "User:ANONYMOUS"),
        (Settings(security_protocol="SSL"), "User:ANONYMOUS"),
        (Settings(security_protocol="SSL", ssl_certfile="me.pem"), "User:<the subject of me.pem>"),  # type: ignore[arg-type]
        (
            Settings(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_oauth_token="a:b"),
            "User:<the token's subject>",
        ),
        (Settings(security_protocol="SASL_SSL", sasl_mechanism="GSSAPI"), "User:<the ticket's principal>"),
    ],
)
def test_who_one_is_to_the_brokers(settings: Settings, who: str):
    assert principal_of(settings) == who


def test_a_denial_is_known_in_both_libraries_and_as_a_cause():
    wrapped = RuntimeError("no answer")
    wrapped.__cause__ = AsyncDenial("t")
    assert all(map(is_denial, (TopicAuthorizationFailedError("t"), AsyncDenial("t"), wrapped)))
    assert not any(map(is_denial, (KafkaTimeoutError(), OSError(29, "illegal seek"), None)))
