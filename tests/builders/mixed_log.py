"""A seeded log of everything that a topic of actions may hold: most of it ordinary, some late, repeated or poisoned."""

import json
import random
from collections.abc import Iterator
from typing import Any

from rankstream.events.action_event import Recorded
from tests.builders.actions import MORNING_MS

KINDS, SURFACES = ("view", "click", "save", "hide"), ("home", "search", "elsewhere", None)
SESSION_ENDS_MS = 3 * 3_600_000


def a_mixed_log(count: int, seed: int = 1, users: int = 20_000) -> list[Recorded]:
    """Records of one partition: about one in nine is out of the common form."""
    rng = random.Random(seed)
    sent: list[tuple[bytes | None, bytes | None]] = []
    log: list[Recorded] = []
    for offset, (at_ms, event) in enumerate(_events(rng, count, users)):
        key, value = _sent(rng, event)
        what = rng.random()
        if what < 0.01 and sent:
            key, value = rng.choice(sent[-3000:])
        elif what < 0.02:
            event["timestamp_ms"] -= rng.randrange(10**8)
            value = json.dumps(event).encode()
        elif what < 0.03:
            key, value = _poisoned(rng, key, value)
        elif what < 0.035:
            at_ms_then = at_ms - rng.choice([0, 0, rng.randrange(10**7)])
            key, value = _sent(rng, {"user_id": event["user_id"], "action": "forget", "timestamp_ms": at_ms_then})
        sent.append((key, value))
        stamp = -1 if rng.random() < 0.001 else at_ms + rng.choice([5, 5, 5, -700])
        log.append(Recorded("user-actions", 0, 2 * offset, stamp, key, value))
    return log


def _events(rng: random.Random, count: int, users: int) -> Iterator[tuple[int, dict[str, Any]]]:
    at_ms = MORNING_MS
    for _ in range(count):
        at_ms += rng.randrange(200) if rng.random() > 0.0005 else SESSION_ENDS_MS
        user: Any = f"u{int(rng.paretovariate(0.6)) % users}" if rng.random() < 0.8 else rng.randrange(users // 40 + 1)
        if rng.random() < 0.01:
            user = rng.choice(["ü" * 20, f"{user}-" * 9, str(user), "x" * 256, "007"])
        event = {"user_id": user, "item_id": _item(rng), "action": rng.choice(KINDS), "timestamp_ms": at_ms}
        if rng.random() < 0.1:
            event["surface"] = rng.choice(SURFACES)
        if rng.random() < 0.1:
            event["value"] = rng.choice([3, 0.25, round(rng.random() * 1000, 2), 1e30, rng.random(), 7.0, None, 10**16])
        if rng.random() < 0.05:
            event["list_id"] = rng.choice(["r1", 5, None, "é"])
            event["collection_id"] = rng.choice([None, "c1", 5, "é"])
        if rng.random() < 0.03:
            event["extra"] = rng.choice(["x", 3, -3, None, True, {"a": [1]}, "é", 2.5])
        keys = list(event)
        rng.shuffle(keys)
        yield at_ms, {name: event[name] for name in keys}


def _item(rng: random.Random) -> int | str:
    number = rng.randrange(10**6)
    if rng.random() < 0.7:
        return number
    texts = [str(number), f"item-{number % 1000}", f"{number:x}-" * rng.randrange(1, 20), "0", "00", str(2**63), "é"]
    return rng.choice([*texts, 2**63 - 1, 2**63, -1])


def _sent(rng: random.Random, event: dict[str, Any]) -> tuple[bytes, bytes]:
    separators = rng.choice([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
    value = json.dumps(event, separators=separators, ensure_ascii=rng.random() < 0.5)
    return str(event["user_id"]).encode(), (value if rng.random() < 0.9 else f" {value}\r\n").encode()


def _poisoned(rng: random.Random, key: bytes, value: bytes) -> tuple[bytes | None, bytes | None]:
    name, other = rng.sample([b"item_id", b"user_id", b"action", b"timestamp_ms", b"value"], 2)
    return rng.choice(
        [
            (key, b""), (key, None), (key, value[:-3]), (key, b"[]"), (b"other", value), (None, value),
            (key, value.replace(b"view", b"looked")), (key, value.replace(b"17", b"-17", 1)),
            (key, value.replace(b"17", b"99", 1)), (key, value.replace(b"17", b"1", 1)), (key, b"\xff" + value),
            (key, value + b"{}"), (key, value + b"x"), (key, value.replace(b'"action"', b'"acti\\u006fn"')),
            (key, value.replace(name, other)), (key, value.replace(name, name[:-1] + b"x")), (key, b"[" * 2000),
            (key, value[:-1] + b'," ":1.5e3}'), (key, value.replace(b":", b"=", 1)), (b"", value), (key, b"{}"),
            (key, value.ljust(70_000)), (key, value[:-1] + b',"value":-1}'), (key, value.replace(b"e", b"\x00")),
        ]
    )  # fmt: skip
