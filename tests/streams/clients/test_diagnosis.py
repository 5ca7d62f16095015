"""What is said of brokers that are not reached; of those that want TLS or a login: ``tests/kafka/test_security.py``."""

import socket

import pytest

from rankstream.streams.clients import diagnosis
from rankstream.streams.settings import Settings

LOGIN = {"sasl_username": "me", "sasl_password": "a password"}
NO_TLS = "it does not speak TLS on that port, but security_protocol is SSL"


@pytest.mark.parametrize(
    ("protocol", "more", "other"),
    [
        ("PLAINTEXT", {}, "has more to do than it can"),
        ("SASL_PLAINTEXT", LOGIN, "has more to do than it can"),
        ("SSL", {}, NO_TLS),
    ],
)
def test_a_broker_that_stands_still_is_not_said_to_want_tls_or_a_login(monkeypatch, protocol, more, other):
    monkeypatch.setattr(diagnosis, "STEP_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as stopped:  # the kernel takes connections of a stopped process
        address = f"127.0.0.1:{stopped.getsockname()[1]}"
        told = diagnosis.why_not(Settings(bootstrap_servers=address, security_protocol=protocol, **more))
    assert told == f"{address} takes connections, and says nothing within 0.2 s: it stands still, or {other}"
