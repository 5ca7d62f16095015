"""Logins by Kerberos, on Apache Kafka and a KDC of this machine: a ticket gets in, none or another's does not."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from rankstream.streams import broker as local
from rankstream.streams.broker import RealKafka, free_port, why_no_kafka
from rankstream.streams.clients.connect import ClientError, connect_admin
from rankstream.streams.settings import Settings
from rankstream.streams.topics import FEEDS
from tests.builders.broker import properties_with
from tests.builders.kerberos import REALM, Realm, why_no_kdc
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]

LISTENERS = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},TICKETS://localhost:{tickets}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},TICKETS://localhost:{tickets}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TICKETS:SASL_PLAINTEXT
sasl.enabled.mechanisms=GSSAPI
sasl.kerberos.service.name=kafka
listener.name.tickets.gssapi.sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true \
storeKey=true keyTab="{keytab}" principal="kafka/localhost@{realm}";
"""


@dataclass(frozen=True)
class Guarded:
    """A broker with a listener that takes tickets, and the realm that gives them."""

    inside: str  # servers of the listener without a login
    tickets: str  # servers of the other
    realm: Realm
    cache: Path  # with the ticket of a principal

    def settings(self, **more: object) -> Settings:
        return Settings(
            bootstrap_servers=self.tickets, security_protocol="SASL_PLAINTEXT", sasl_mechanism="GSSAPI", **more
        )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Guarded]:
    home = Path(os.environ["KAFKA_HOME"]) if os.environ.get("KAFKA_HOME") else None
    if request.config.getoption("--broker") != "kafka" or why_no_kafka(home):
        pytest.skip("the embedded broker takes no tickets")
    if why_no_kdc() or find_spec("gssapi") is None:
        pytest.skip(why_no_kdc() or 'no package gssapi: pip install "rankstream[kerberos]"')
    assert home is not None
    realm, port = Realm(tmp_path_factory.mktemp("realm")), free_port()
    words = {"tickets": str(port), "keytab": str(realm.keytab("kafka/localhost")), "realm": REALM}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "KAFKA_PROPERTIES", properties_with(LISTENERS, words))
        patch.setenv("KAFKA_OPTS", f"-Djava.security.krb5.conf={realm.environment['KRB5_CONFIG']}")
        patch.setenv("KRB5_CONFIG", realm.environment["KRB5_CONFIG"])
        with RealKafka(home) as broker:
            cache = realm.ticket("shop", realm.keytab("shop"))
            yield Guarded(f"127.0.0.1:{broker.port}", f"localhost:{port}", realm, cache)
    realm.close()


def test_a_ticket_gets_in(guarded, monkeypatch):
    monkeypatch.setenv("KRB5CCNAME", str(guarded.cache))
    connect_admin(guarded.settings()).close()


@pytest.mark.parametrize(
    ("cache", "service"),
    [("nothing.cache", "kafka"), ("shop.cache", "broker")],
    ids=["no ticket", "a service that the KDC does not know"],
)
def test_who_has_no_ticket_for_the_broker_is_told(guarded, monkeypatch, cache, service):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 2_000)
    monkeypatch.setattr("rankstream.streams.clients.connect.HANG_S", 4.0)
    monkeypatch.setenv("KRB5CCNAME", str(guarded.realm.folder / cache))
    with pytest.raises(ClientError, match=f"no ticket of this process for {service} lets it in: check klist"):
        connect_admin(guarded.settings(sasl_kerberos_service_name=service)).close()


def test_a_worker_serves_by_its_ticket(guarded, tmp_path):
    bench = Bench(guarded.inside, tmp_path, 6.0)
    bench.create_topics()
    bench.send_actions(100)
    bench.send_requests(10)
    login = {
        "RANKSTREAM_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "RANKSTREAM_SASL_MECHANISM": "GSSAPI",
        "KRB5CCNAME": str(guarded.cache),
    }
    worker = bench.worker(RANKSTREAM_BOOTSTRAP_SERVERS=guarded.tickets, **login)
    worker.wait_ready()
    bench.wait_committed(110)
    assert worker.terminate() == 0
    assert len(bench.read(FEEDS)) == 10
    bench.close()
