"""What was found at the end of a run, beside what must be: the ledger."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from chaos.load import FOREIGN_KEY, SURFACES, TYPES
from chaos.oracle import MARK, Differences, Kept, Sent, compare, expected_users
from chaos.timeline import Answer, waited_of
from rankstream.features.actions import unpack_action
from rankstream.features.counters import COUNTER_BYTES
from rankstream.features.history import split
from rankstream.features.stores.rocksdb import POSITION
from rankstream.features.user_state import unpack_state
from rankstream.streams.topics import ACTIONS, CHANGELOG, DEAD_LETTERS, FEEDS, REQUESTS
from tests.kafka.harness import Bench

NO_USERS = (POSITION, FOREIGN_KEY)


@dataclass
class Ledger:
    """All that a run has to say."""

    seed: int
    workers: int
    broker: str
    faults: dict[str, int] = field(default_factory=dict)  # kind -> how often it happened
    starts: int = 0  # of workers
    ends: dict[int, int] = field(default_factory=dict)  # exit code -> how many workers ended with it, negative: signal
    records: int = 0  # actions in the log, duplicates and poison included
    users: int = 0
    unsent: int = 0  # numbers that never came into the log: the load's or the brokers' loss, not the workers'
    uncommitted: int = 0  # records that the workers had not done when patience ended
    compacted: int = 0  # offsets of the changelog that hold no record any more, or never did: ends of transactions
    states: dict[str, Differences] = field(default_factory=dict)  # where states were read -> how they differ
    requests: int = 0
    unanswered: int = 0
    answered_again: int = 0  # allowed: feeds are written at once, and a kill may repeat some
    poison: int = 0  # records that must be dead letters
    unlettered: int = 0
    lettered_again: int = 0  # where brokers fence, a fault
    lettered_wrongly: int = 0  # dead letters of records that are good
    fenced: bool = False
    hung: int = 0  # workers that had to be killed, as they did not end
    set_aside: int = 0  # damaged folders moved by hand: as a worker said, or found when they were read at the end
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)  # of the run itself

    @property
    def is_clean(self) -> bool:
        """Return whether nothing is lost, doubled, wrong, unanswered or unlettered."""
        counts = [self.unsent, self.uncommitted, self.unanswered, self.unlettered, self.lettered_wrongly, self.hung]
        counts += [self.lettered_again] if self.fenced else []
        same = all(found == Differences() for found in self.states.values())
        return same and not any(counts) and not self.failures


def kept_of(packed: bytes) -> Kept:
    """Return what a stored record keeps of its user."""
    state = unpack_state(packed)
    actions = map(unpack_action, split(state.history.packed))
    bits = 8 * COUNTER_BYTES
    return Kept(
        actions=tuple(
            ((one.occurred_at_ms, one.action_type, one.item_key), (one.surface, one.value_code)) for one in actions
        ),
        total=state.total,
        offset=state.offset,
        departed=tuple(state.departed >> bits * place & (1 << bits) - 1 for place in range(len(TYPES))),
        forgotten_ms=state.forgotten_ms,
    )


def kept_of_all(records: Mapping[bytes, bytes]) -> dict[bytes, Kept]:
    """Return the same for all users of a store or a changelog."""
    return {key: kept_of(record) for key, record in records.items() if key not in NO_USERS}


def log_of(bench: Bench) -> list[Sent]:
    """Return the log of actions, by partition and offset."""
    return [Sent(record.partition, record.offset, record.value) for record in bench.read(ACTIONS)]


def expected_of(log: list[Sent], limit: int) -> dict[bytes, Kept]:
    """Return what must be kept of each user."""
    return expected_users(log, TYPES, SURFACES, limit)


def count_log(ledger: Ledger, log: list[Sent], numbers: int) -> None:
    """Count what came into the log, and of all numbers those that did not."""
    found = {json.loads(record.value).get("item_id") for record in log if MARK not in record.value}
    ledger.records, ledger.unsent = len(log), numbers - len(found - {None})  # an erasure has none


def count_letters(ledger: Ledger, bench: Bench, log: list[Sent]) -> None:
    """Compare the dead letters with the poison in the log."""
    letters = [json.loads(record.value) for record in bench.read(DEAD_LETTERS)]
    found = Counter((one["topic"], one["partition"], one["offset"]) for one in letters)
    topic = bench.names.of(ACTIONS)
    must = {(topic, record.partition, record.offset) for record in log if MARK in record.value}
    ledger.poison = len(must)
    ledger.unlettered = len(must - found.keys())
    ledger.lettered_wrongly = len(found.keys() - must)
    ledger.lettered_again = found.total() - len(found)


def count_answers(ledger: Ledger, bench: Bench) -> None:
    """Compare the feeds with the requests."""
    asked = {json.loads(record.value)["request_id"] for record in bench.read(REQUESTS)}
    answers = bench.feeds()
    ledger.requests, ledger.unanswered = len(asked), len(asked - answers.keys())
    ledger.answered_again = answers.total() - len(answers)


def answers_of(bench: Bench, started_ms: int) -> list[Answer]:
    """Return how long each request waited for its first answer, by their records' times."""
    first: dict[str, int] = {}
    for record in bench.read(FEEDS):
        request_id = json.loads(record.value)["request_id"]
        first[request_id] = min(record.timestamp, first.get(request_id, record.timestamp))
    answers = []
    for record in bench.read(REQUESTS):
        answered_ms = first.get(json.loads(record.value)["request_id"])
        waited_s = None if answered_ms is None else waited_of(record.timestamp, answered_ms)
        answers.append(Answer(round((record.timestamp - started_ms) / 1000, 2), waited_s))
    return answers


def logged_of(ledger: Ledger, bench: Bench) -> dict[bytes, bytes]:
    """Return the last state of each user in the changelog, and count what compaction has left of it."""
    records = bench.read(CHANGELOG)
    ledger.compacted = sum(bounds.end for bounds in bench.bounds(CHANGELOG).values()) - len(records)
    return {record.key: record.value for record in records}


def count_states(ledger: Ledger, where: str, expected: Mapping[bytes, Kept], records: Mapping[bytes, bytes]) -> None:
    """Compare the states that were read somewhere with what they must be."""
    ledger.users = len(expected)
    ledger.states[where] = compare(expected, kept_of_all(records))


def table(ledger: Ledger) -> str:
    """Return the ledger as people read it."""
    rows: list[tuple[str, object]] = [(f"  {kind}", times) for kind, times in ledger.faults.items()]
    rows = [("faults", sum(ledger.faults.values())), *rows]
    ends = [(f"  ended with {code}", times) for code, times in sorted(ledger.ends.items())]
    rows += [("starts of workers", ledger.starts), *ends, ("did not end in time", ledger.hung)]
    rows += [("records", ledger.records), ("users", ledger.users), ("never in the log", ledger.unsent)]
    rows += [("not done when patience ended", ledger.uncommitted)]
    rows += [("offsets of the changelog now empty", ledger.compacted)]
    for where, found in ledger.states.items():
        rows += [(f"states {where}: lost", found.lost), ("  doubled", found.doubled), ("  wrong", found.wrong)]
        rows += [("  such users", ", ".join(map(repr, found.users)))] if found.users else []
    rows += [("requests", ledger.requests), ("  unanswered", ledger.unanswered)]
    rows += [("  answered again", ledger.answered_again), ("poison", ledger.poison)]
    rows += [("  without a dead letter", ledger.unlettered), ("  with several", ledger.lettered_again)]
    rows += [("good, with a dead letter", ledger.lettered_wrongly), ("folders set aside by hand", ledger.set_aside)]
    rows += [("failure of the run", text) for text in ledger.failures]
    rows += [("seconds", round(ledger.seconds))]
    head = f"seed {ledger.seed}, {ledger.workers} workers, {ledger.broker}"
    lines = [f"{name:34} {value:>9,}" if isinstance(value, int) else f"{name:34} {value}" for name, value in rows]
    return "\n".join([head, *lines, "clean" if ledger.is_clean else "NOT CLEAN"])
