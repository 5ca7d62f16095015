"""The load: numbered actions, with duplicates, late ones and erasures, requests all the while, and poison when told so.

The number of an action is its item, so that a lost one can be named.
"""

import json
import random
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic, sleep

from kafka import KafkaProducer

from chaos.oracle import MARK
from chaos.plan import Kind
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, CHANGELOG, REQUESTS

TYPES, SURFACES = ("view", "click", "save", "hide"), ("home", "search")  # of the bundle that workers serve
START_MS, STEP_MS = 1_700_000_000_000, 400
DUPLICATES, LATE, ERASURES = 0.03, 0.05, 0.002  # shares
LATE_BY_MS = 2 * 3_600_000
RECENT = 1_000  # actions that a duplicate repeats one of
ACTIONS_A_REQUEST = 80
PATIENCE_MS = 600_000  # brokers may be away
NESTING, HUGE_BYTES = 998, 900_000
FOREIGN_KEY = b"foreign"


@dataclass(frozen=True)
class Amount:
    """How much is sent."""

    actions: int  # numbers; duplicates come on top
    users: int
    seconds: float


def actions_of(seed: int, amount: Amount) -> Iterator[bytes]:
    """Yield the JSON of actions 0, 1, 2, ..., and now and then one of the last ones again; few users do much."""
    rng = random.Random(seed)
    recent: deque[bytes] = deque(maxlen=RECENT)
    for number in range(amount.actions):
        late_ms = rng.randrange(LATE_BY_MS) if rng.random() < LATE else 0
        event = {
            "user_id": f"u{int(amount.users * rng.random() ** 3)}",
            "item_id": number,
            "action": rng.choice(TYPES),
            "timestamp_ms": START_MS + STEP_MS * number - late_ms,
            "surface": rng.choice(SURFACES),
        }
        recent.append(json.dumps(event).encode())
        yield recent[-1]
        if rng.random() < DUPLICATES:
            yield rng.choice(recent)
        if rng.random() < ERASURES:  # of one who acted of late; some of what is forgotten is still to come
            at_ms = START_MS + STEP_MS * number - rng.randrange(LATE_BY_MS)
            user = json.loads(rng.choice(recent))["user_id"]
            yield json.dumps({"user_id": user, "action": "forget", "timestamp_ms": at_ms}).encode()


def key_of(action: bytes) -> bytes:
    """Return the record's key of an action."""
    user: str = json.loads(action)["user_id"]
    return user.encode()


def poison_of(kind: Kind, number: int) -> tuple[bytes, bytes]:
    """Return key and value of a record that must be refused."""
    user = f"u{number}"
    if kind is Kind.NESTED:
        head = json.dumps({"user_id": user, "item_id": 1, "action": "view", "timestamp_ms": START_MS})[:-1]
        return user.encode(), head.encode() + b', "poison": ' + b"[" * NESTING
    if kind is Kind.WRONG_KEY:
        event = {"user_id": user, "item_id": 1, "action": "view", "timestamp_ms": START_MS, "note": "poison"}
        return f"u{number + 1}".encode(), json.dumps(event).encode()
    if kind is Kind.HUGE:
        return user.encode(), MARK * (HUGE_BYTES // len(MARK))
    if kind is Kind.FOREIGN:
        return FOREIGN_KEY, b'{"poison": "no state"}'
    return user.encode(), b"poison, not JSON"


class Load(threading.Thread):
    """Sends it all, evenly over the seconds; what is late because brokers were away is sent as fast as it goes."""

    def __init__(self, settings: Settings, seed: int, amount: Amount) -> None:
        super().__init__(daemon=True)
        self.settings, self.seed, self.amount = settings, seed, amount
        self.actions = self.requests = 0  # sent, duplicates included
        self.poison: Counter[Kind] = Counter()
        self.failures: list[BaseException] = []
        self._prefix = settings.topic_prefix
        self._wanted: SimpleQueue[Kind] = SimpleQueue()
        self._producer = KafkaProducer(
            bootstrap_servers=settings.bootstrap_servers,
            acks="all",
            linger_ms=20,
            max_request_size=4 << 20,
            max_block_ms=PATIENCE_MS,
            delivery_timeout_ms=PATIENCE_MS,
        )

    def add_poison(self, kind: Kind) -> None:
        """Have a record sent that must be refused."""
        self._wanted.put(kind)

    def run(self) -> None:
        """Send, until all is sent and acknowledged; what fails is in ``failures``."""
        started = monotonic()
        try:
            for number, action in enumerate(actions_of(self.seed, self.amount)):
                self._wait(started + self.amount.seconds * number / self.amount.actions)
                self._send(ACTIONS.name, key_of(action), action)
                self.actions += 1
                if number % ACTIONS_A_REQUEST == 0:
                    self._ask(key_of(action))
            self._send_poison()
            self._producer.flush(PATIENCE_MS / 1000)
            self._producer.close()
        except Exception as exc:
            self.failures.append(exc)

    def _wait(self, until: float) -> None:
        self._send_poison()
        while (ahead_s := until - monotonic()) > 0.02:  # below it, linger is longer
            sleep(min(ahead_s, 0.1))
            self._send_poison()

    def _ask(self, key: bytes) -> None:
        request = {"request_id": f"r{self.requests}", "user_id": key.decode(), "candidates": [1, 2, 3, 4, 5]}
        self._send(REQUESTS.name, key, json.dumps(request).encode())
        self.requests += 1

    def _send_poison(self) -> None:
        while not self._wanted.empty():
            kind = self._wanted.get()
            key, value = poison_of(kind, self.poison.total())
            self._send(CHANGELOG.name if kind is Kind.FOREIGN else ACTIONS.name, key, value)
            self.poison[kind] += 1

    def _send(self, topic: str, key: bytes, value: bytes) -> None:
        self._producer.send(self._prefix + topic, value, key).add_errback(self.failures.append)
