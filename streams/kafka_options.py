"""Options of the client libraries that rankstream hands on: a table ``[kafka]`` of the settings file, or one text.

::

    [kafka]                                  client_rack=eu-1a,retry_backoff_ms=50
    client_rack = "eu-1a"              =     as RANKSTREAM_KAFKA or --kafka
    retry_backoff_ms = 50

Names are those that aiokafka and kafka-python both have, so that an option holds for workers and for the clients beside
them. Each client takes those that it knows: ``compression_type`` is a producer's.
"""

from collections.abc import Mapping
from difflib import get_close_matches

from rankstream.streams.setting_fields import FALSE, TRUE, SettingsError

Options = Mapping[str, str | int | bool]

HANDED_ON: Mapping[str, type] = {
    "client_id": str,  # under which brokers log and limit it
    "client_rack": str,  # consumers read from a replica near by (KIP-392)
    "compression_type": str,  # of what is written: gzip, snappy, lz4, zstd
    "check_crcs": bool,
    "fetch_min_bytes": int,
    "fetch_max_bytes": int,
    "retry_backoff_ms": int,
    "metadata_max_age_ms": int,
    "connections_max_idle_ms": int,
}
SETTINGS: Mapping[str, str] = {
    "bootstrap_servers": "bootstrap_servers",
    "security_protocol": "security_protocol",
    "sasl_mechanism": "sasl_mechanism",
    "sasl_plain_username": "sasl_username",
    "sasl_plain_password": "sasl_password",
    "sasl_oauth_token_provider": "sasl_oauth_token",
    "sasl_kerberos_service_name": "sasl_kerberos_service_name",
    "sasl_kerberos_domain_name": "sasl_kerberos_domain_name",
    "ssl_context": "ssl_cafile",
    "ssl_cafile": "ssl_cafile",
    "ssl_certfile": "ssl_certfile",
    "ssl_keyfile": "ssl_keyfile",
    "ssl_password": "ssl_key_password",
    "group_id": "app_id",
    "group_instance_id": "group_instance_id",
    "session_timeout_ms": "session_timeout_s",
    "heartbeat_interval_ms": "heartbeat_interval_s",
    "fetch_max_wait_ms": "fetch_max_wait_ms",
    "partitioner": "partitioner",
}  # what a setting says under its own name
OWNED = (
    "acks", "api_version", "auto_commit_interval_ms", "auto_offset_reset", "consumer_timeout_ms", "enable_auto_commit",
    "enable_idempotence", "exclude_internal_topics", "isolation_level", "key_deserializer", "key_serializer",
    "linger_ms", "max_partition_fetch_bytes", "max_poll_interval_ms", "max_poll_records", "max_request_size",
    "partition_assignment_strategy", "request_timeout_ms", "transaction_timeout_ms", "transactional_id",
    "value_deserializer", "value_serializer",
)  # fmt: skip


def options_in(text: str, source: str) -> Options:
    """Return the options in ``name=value,name=value``. Raises ``SettingsError`` for one that can't be handed on."""
    found: dict[str, str | int | bool] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not value:
            raise SettingsError(f"{source} holds {pair!r}; wanted name=value, several with commas between")
        if name in found:
            raise SettingsError(f"{source} sets {name} twice; give it once")
        found[name] = _value(name, value, source)
    return found


def text_of(table: Mapping[str, object]) -> str:
    """Return a table of the settings file as one text."""
    return ",".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in table.items()
    )


def _value(name: str, value: str, source: str) -> str | int | bool:
    kind = HANDED_ON.get(name)
    if kind is None:
        raise SettingsError(f"{source} sets {name}, {_why_not(name)}")
    if kind is str:
        return value
    if kind is bool and value.lower() in (*TRUE, *FALSE):
        return value.lower() in TRUE
    if kind is int and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    wanted = "true or false" if kind is bool else "a whole number of at least 0"
    raise SettingsError(f"{source} sets {name} to {value!r}; wanted {wanted}")


def _why_not(name: str) -> str:
    if name in SETTINGS:
        return f"which is the setting {SETTINGS[name]}: give it under that name"
    if name in OWNED:
        return (
            "which rankstream chooses itself, as what it promises of delivery, memory or time rests on it; leave it out"
        )
    near = get_close_matches(name.replace(".", "_"), HANDED_ON, n=1)
    hint = f"did you mean {near[0]}?" if near else f"those that are handed on are {', '.join(HANDED_ON)}"
    return f"which is no option that both client libraries have; {hint}"
