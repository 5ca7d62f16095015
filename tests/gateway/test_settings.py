"""Settings of the gateway: where they come from, and what is refused."""

import pytest

from rankstream.gateway.settings import GatewaySettings, read_gateway_settings, server_tls
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import read_settings

TOKEN = "0123456789abcdef"


def test_flags_come_before_the_environment_and_that_before_the_file(tmp_path):
    file = tmp_path / "rankstream.toml"
    file.write_text("partitions = 3\n[gateway]\nport = 1\nmax_streams = 1\nmax_in_flight = 1\n")
    environment = {"RANKSTREAM_GATEWAY_PORT": "2", "RANKSTREAM_GATEWAY_MAX_STREAMS": "2"}
    settings = read_gateway_settings({"port": 3}, file, environment)
    assert (settings.port, settings.max_streams, settings.max_in_flight) == (3, 2, 1)
    assert read_settings(environment={}, file=file).partitions == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": "0.0.0.0"}, "no token: set RANKSTREAM_GATEWAY_TOKEN"),
        ({"host": "gateway.example"}, "no token"),
        ({"token": "short"}, "at least 16 characters"),
        ({"token": f"{TOKEN},short"}, "at least 16 characters"),
        ({"port": 70_000}, "wanted 0 to 65,535"),
        ({"tls_keyfile": "key.pem"}, "no tls_certfile"),
    ],
)
def test_what_would_leave_the_door_open_or_shut_is_refused(given, told):
    with pytest.raises(SettingsError, match=told):
        GatewaySettings(**given)


@pytest.mark.parametrize(
    "given",
    [{"host": "::1"}, {"host": "localhost"}, {"host": "0.0.0.0", "token": TOKEN}, {"host": "::", "anonymous": True}],
)
def test_this_machine_a_token_or_a_word_open_it(given):
    assert GatewaySettings(**given)


def test_a_token_is_never_shown():
    assert TOKEN not in repr(GatewaySettings(token=TOKEN))
    with pytest.raises(SettingsError) as refused:
        GatewaySettings(token="hunter2")
    assert "hunter2" not in str(refused.value)


def test_a_certificate_that_is_none_is_refused(tmp_path):
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match="can't be used"):
        server_tls(GatewaySettings(tls_certfile=tmp_path / "cert.pem"))
