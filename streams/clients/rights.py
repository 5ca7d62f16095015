"""What brokers with an authorizer let a client do, asked before it is done: who lacks which right, and what grants it.

Brokers tell what a client may do with each topic and group (KIP-430). A topic that it may not even see they deny as one
that is not there: so it is asked for by its name. Brokers without an authorizer allow everything, and the embedded one
tells nothing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rankstream.streams.settings import GSSAPI, OAUTH, Settings

READ, WRITE, CREATE, DESCRIBE, DESCRIBE_CONFIGS = "Read", "Write", "Create", "Describe", "DescribeConfigs"
TOPIC, GROUP, TRANSACTIONAL_ID = "topic", "group", "transactional-id"
TOPIC_DENIED, GROUP_DENIED, CLUSTER_DENIED, TRANSACTIONAL_ID_DENIED = 29, 30, 31, 53  # errors of Kafka
DENIALS = (TOPIC_DENIED, GROUP_DENIED, CLUSTER_DENIED, TRANSACTIONAL_ID_DENIED)


@dataclass(frozen=True)
class Lacking:
    """Operations that a client may not do with one thing."""

    kind: str  # as `kafka-acls.sh` calls it
    name: str
    operations: tuple[str, ...]  # as `kafka-acls.sh` calls them
    unseen: bool = False  # a topic that may also be missing: brokers do not say which
    prefixed: bool = False  # all that begin with the name


def lacking_on_topics(described: Collection[Mapping[str, Any]], needed: Mapping[str, Collection[str]]) -> list[Lacking]:
    """Return what is lacking of the operations ``needed`` by topic; ``described`` is kafka-python's answer."""
    by_name = {one["name"]: one for one in described}
    found = (_lacking(name, by_name.get(name, {}), tuple(operations)) for name, operations in needed.items())
    return [one for one in found if one.operations]


def _lacking(name: str, described: Mapping[str, Any], needed: tuple[str, ...]) -> Lacking:
    if described.get("error_code") == TOPIC_DENIED:
        return Lacking(TOPIC, name, needed, unseen=True)
    allowed = described.get("authorized_operations")
    return Lacking(TOPIC, name, () if allowed is None else tuple(_without(needed, allowed)))


def _without(needed: Collection[str], allowed: Collection[str]) -> Iterator[str]:
    plain = {name.replace("_", "").lower() for name in allowed}
    return (one for one in needed if one.lower() not in plain)


def told(lacking: Sequence[Lacking], settings: Settings) -> str:
    """Return one sentence: who lacks what, and the commands that grant it; things of one kind stand in one."""
    who = principal_of(settings)
    alike = [list(group) for _, group in groupby(sorted(lacking, key=_rights), key=_rights)]
    rights = ", ".join(_shown(group) for group in alike)
    commands = " && ".join(_grant(group, who, settings) for group in alike)
    return f"{who} lacks {rights}; who may grants it by: {commands}"


def _rights(one: Lacking) -> tuple[Any, ...]:
    """Return all but the name."""
    return one.kind != TOPIC, one.kind, one.operations, one.unseen, one.prefixed


def _shown(group: Sequence[Lacking]) -> str:
    one, several = group[0], "s" if len(group) > 1 or group[0].prefixed else ""
    kind = f"{one.kind.replace('-', ' ')}{several}{' that begin with' if one.prefixed else ''}"
    unseen = f" (or there {'are no such topics' if several else 'is no such topic'})" if one.unseen else ""
    return f"{' and '.join(one.operations)} on the {kind} {', '.join(each.name for each in group)}{unseen}"


def _grant(group: Sequence[Lacking], who: str, settings: Settings) -> str:
    one, server = group[0], settings.bootstrap_servers.split(",")[0].strip()
    operations = " ".join(f"--operation {operation}" for operation in one.operations)
    names = " ".join(f"--{one.kind} {each.name}" for each in group)
    prefixed = " --resource-pattern-type prefixed" if one.prefixed else ""
    return f"kafka-acls.sh --bootstrap-server {server} --add --allow-principal '{who}' {operations} {names}{prefixed}"


def principal_of(settings: Settings) -> str:
    """Return as whom brokers know a client, by their defaults; a description where only they can tell."""
    if settings.security_protocol.startswith("SASL"):
        others = {OAUTH: "User:<the token's subject>", GSSAPI: "User:<the ticket's principal>"}
        return others.get(settings.sasl_mechanism, f"User:{settings.sasl_username}")
    return "User:ANONYMOUS" if settings.ssl_certfile is None else f"User:<the subject of {settings.ssl_certfile}>"


def is_denial(exc: BaseException | None) -> bool:
    """Return whether an error of aiokafka or kafka-python, or what it came from, is the lack of a right."""
    return denial_of(exc) is not None


def denial_of(exc: BaseException | None) -> int | None:
    """Return which denial an error is, or comes from; None where it is none."""
    while exc is not None:
        errno = getattr(exc, "errno", None)
        if errno in DENIALS and "kafka" in type(exc).__module__:
            return int(errno)
        exc = exc.__cause__
    return None
