"""Listeners that want certificates and logins, on Apache Kafka: who fits gets in, who does not is told why."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.errors import SaslAuthenticationFailed

from rankstream.streams import broker as local
from rankstream.streams.broker import RealKafka, free_port, why_no_kafka
from rankstream.streams.clients.connect import ClientError, connect_admin
from rankstream.streams.connection import connection_of
from rankstream.streams.settings import Settings
from rankstream.streams.topics import FEEDS
from tests.builders.broker import properties_with
from tests.kafka.harness import ROOT, Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PASSWORD = "hunter2"
LISTENERS = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},{more}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},{more}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,MTLS:SSL,LOGIN:SASL_PLAINTEXT,BOTH:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.mtls.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,OAUTHBEARER
listener.name.login.plain.sasl.jaas.config={plain}
listener.name.both.plain.sasl.jaas.config={plain}
listener.name.login.oauthbearer.sasl.jaas.config={oauth}
listener.name.both.oauthbearer.sasl.jaas.config={oauth}
"""
PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_me="{PASSWORD}";'
OAUTH = (
    'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="b";'
)
TOKENS = """\
import base64, itertools, json, time, traceback

def packed(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

def token():
    now = int(time.time())  # brokers refuse what was issued later than their clock's millisecond
    return f"{packed({'alg': 'none'})}.{packed({'sub': 'me', 'iat': now, 'exp': now + 3600})}."

ASKED = itertools.count()

def sometimes_expired():
    by_kafka_python = any("/kafka/net/" in frame.filename for frame in traceback.extract_stack())
    return token() if by_kafka_python or next(ASKED) % 3 else expired()

def expired():
    return f"{packed({'alg': 'none'})}.{packed({'sub': 'me', 'iat': 1, 'exp': 2})}."
"""


@dataclass(frozen=True)
class Guarded:
    """A broker with a listener of each kind, and the files that fit them."""

    ports: dict[str, int]
    folder: Path

    def settings(self, listener: str, host: str = "127.0.0.1", **more: object) -> Settings:
        return Settings(**{"bootstrap_servers": f"{host}:{self.ports[listener]}"} | more)  # type: ignore[arg-type]

    def refused(self, listener: str, **more: object) -> str:
        with pytest.raises(ClientError) as told:
            connect_admin(self.settings(listener, **more)).close()
        return str(told.value)


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    """An authority, and of it a certificate of 127.0.0.1 for the broker and one for the client; another authority."""
    for name in ("ca", "other"):
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("broker", "client"):
        openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr")  # fmt: skip
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", f"{name}.crt")  # fmt: skip
        both = (folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text()
        (folder / f"{name}.pem").write_text(both)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Guarded]:
    home = Path(os.environ["KAFKA_HOME"]) if os.environ.get("KAFKA_HOME") else None
    if request.config.getoption("--broker") != "kafka" or why_no_kafka(home) or not shutil.which("openssl"):
        pytest.skip("the embedded broker has no listeners with TLS or logins")
    assert home is not None
    folder = tmp_path_factory.mktemp("guarded")
    make_certificates(folder)
    (folder / "tokens_of_test.py").write_text(TOKENS)
    ports = {name: free_port() for name in ("TLS", "MTLS", "LOGIN", "BOTH")}
    more = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
    words = {"folder": str(folder), "more": more, "plain": PLAIN, "oauth": OAUTH}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "KAFKA_PROPERTIES", properties_with(LISTENERS, words))
        patch.syspath_prepend(str(folder))
        with RealKafka(home) as broker:
            yield Guarded({"PLAINTEXT": broker.port, **ports}, folder)


def test_who_fits_gets_in(guarded):
    files = {"ssl_cafile": guarded.folder / "ca.pem"}
    own = {"ssl_certfile": guarded.folder / "client.crt", "ssl_keyfile": guarded.folder / "client.key"}
    login = {"sasl_mechanism": "PLAIN", "sasl_username": "me", "sasl_password": PASSWORD}
    token = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token": "tokens_of_test:token"}
    connect_admin(guarded.settings("TLS", security_protocol="SSL", **files)).close()
    connect_admin(guarded.settings("MTLS", security_protocol="SSL", **files, **own)).close()
    connect_admin(guarded.settings("LOGIN", security_protocol="SASL_PLAINTEXT", **login)).close()
    connect_admin(guarded.settings("BOTH", security_protocol="SASL_SSL", **files, **login)).close()
    connect_admin(guarded.settings("BOTH", security_protocol="SASL_SSL", **files, **token)).close()


@pytest.mark.parametrize(
    ("listener", "more", "words"),
    [
        ("TLS", {"security_protocol": "SSL"}, "shows a certificate that is not trusted here"),
        ("TLS", {"security_protocol": "SSL", "ssl_cafile": "other.pem"}, "name its authority's PEM file"),
        ("TLS", {"security_protocol": "SSL", "ssl_cafile": "ca.pem", "host": "localhost"}, "a certificate of another"),
        ("TLS", {}, "it may speak TLS"),
        ("PLAINTEXT", {"security_protocol": "SSL", "ssl_cafile": "ca.pem"}, "does not speak TLS on that port"),
        ("MTLS", {"security_protocol": "SSL", "ssl_cafile": "ca.pem"}, "it may want its own certificate"),
        ("LOGIN", {}, "wants a login, but security_protocol is PLAINTEXT"),
        ("PLAINTEXT", {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}, "takes no login"),
        ("LOGIN", {"security_protocol": "SASL_PLAINTEXT"}, "it takes PLAIN, OAUTHBEARER"),
        ("LOGIN", {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}, "refuses the login of me"),
        (
            "BOTH",
            {"security_protocol": "SASL_SSL", "ssl_cafile": "ca.pem", "sasl_mechanism": "OAUTHBEARER",
             "sasl_oauth_token": "tokens_of_test:expired"},
            "refuses the token of sasl_oauth_token",
        ),
    ],
)  # fmt: skip
def test_who_does_not_is_told_which_setting_is_wrong(guarded, monkeypatch, listener, more, words):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 2_000)
    monkeypatch.setattr("rankstream.streams.clients.connect.HANG_S", 4.0)
    more = {name: guarded.folder / value if name == "ssl_cafile" else value for name, value in more.items()}
    if more.get("security_protocol", "").startswith("SASL"):
        more = {"sasl_username": "me", "sasl_password": "wrong", **more}
    assert words in guarded.refused(listener, **more)


def test_aiokafka_hears_that_its_token_is_refused(guarded):
    """Alone it would take the refusal for a login."""
    files = {"ssl_cafile": guarded.folder / "ca.pem"}
    login = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token": "tokens_of_test:expired"}
    settings = guarded.settings("BOTH", security_protocol="SASL_SSL", **files, **login)

    async def connected() -> None:
        arguments = connection_of(settings, AIOKafkaClient)
        names = set(signature(create_conn).parameters)
        await create_conn("127.0.0.1", guarded.ports["BOTH"], **{k: v for k, v in arguments.items() if k in names})

    with pytest.raises(SaslAuthenticationFailed, match="invalid_token"):
        asyncio.run(connected())


@pytest.mark.parametrize("token", [None, "token", "sometimes_expired"])
def test_a_worker_serves_through_a_guarded_listener(guarded, tmp_path, token):
    inside = guarded.settings("PLAINTEXT", topic_prefix=f"by-{token}.", partitions=2)
    bench = Bench(inside.bootstrap_servers, tmp_path, 6.0)
    bench.create_topics()
    bench.send_actions(100)
    bench.send_requests(10)
    files = {"RANKSTREAM_SSL_CAFILE": str(guarded.folder / "ca.pem")}
    if token:
        how = {
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SASL_MECHANISM": "OAUTHBEARER",
            "SASL_OAUTH_TOKEN": f"tokens_of_test:{token}",
        }
        port = guarded.ports["BOTH"]
    else:
        how = {"SECURITY_PROTOCOL": "SSL", "SSL_CERTFILE": str(guarded.folder / "client.crt"),
               "SSL_KEYFILE": str(guarded.folder / "client.key")}  # fmt: skip
        port = guarded.ports["MTLS"]
    how["KAFKA"] = "client_id=shop,client_rack=eu-1a,compression_type=lz4,retry_backoff_ms=50"
    how = {f"RANKSTREAM_{name}": value for name, value in how.items()}
    path = os.pathsep.join([str(guarded.folder), str(ROOT)])
    worker = bench.worker(RANKSTREAM_BOOTSTRAP_SERVERS=f"127.0.0.1:{port}", PYTHONPATH=path, **files, **how)
    worker.wait_ready()
    bench.wait_committed(110)
    assert worker.terminate() == 0
    assert len(bench.read(FEEDS)) == 10
    bench.close()
