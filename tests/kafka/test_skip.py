"""`rankstream skip`: what is skipped is never applied, whatever state the next worker has, and all else is, once."""

import json
import shutil
from dataclasses import replace

import pytest

from rankstream.features.user_state import unpack_state
from rankstream.streams.partitioner import partition_of
from rankstream.streams.topics import ACTIONS, DEAD_LETTERS, REQUESTS
from tests.builders.actions import MORNING_MS
from tests.builders.cli import connected, rankstream, refusal
from tests.kafka.harness import PARTITIONS, Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PARTITION = partition_of(b"u1", PARTITIONS)


def send_actions(bench: Bench, numbers: range) -> None:
    """Send actions of user u1; the item's number is the offset."""
    for number in numbers:
        event = {"user_id": "u1", "item_id": number, "action": "view", "timestamp_ms": MORNING_MS + number}
        bench.send(ACTIONS, b"u1", json.dumps(event).encode())
    bench.producer.flush()


def work(bench: Bench, *topics, until: int) -> None:
    """Run a worker until so much is committed."""
    worker = bench.worker()
    bench.wait_committed(until, *topics)
    assert worker.terminate() == 0


def skip(bench: Bench, to_offset: int, *flags: str):
    where = ("--partition", PARTITION, "--to-offset", to_offset, "--app-id", bench.settings.app_id)
    return rankstream("skip", *where, *flags, *connected(bench.settings))


def items(bench: Bench) -> list[int]:
    """Return the items of u1's history, oldest first."""
    (packed,) = bench.states().values()
    return unpack_state(packed).history.columns().item_keys.tolist()[::-1]


LEFT = [*range(20), *range(25, 30)]


@pytest.fixture
def bench(bench: Bench, broker, request) -> Bench:
    if not broker.is_kafka and "requests" not in request.node.name:
        pytest.skip("the embedded broker keeps no metadata of offsets")
    return bench


@pytest.mark.parametrize("lost", ["nothing", "folder", "folder and changelog"])
def test_skipped_actions_are_not_applied_whatever_state_the_next_worker_has(bench, lost):
    if lost == "folder and changelog":
        bench.settings = replace(bench.settings, changelog=False)
    bench.create_topics()
    send_actions(bench, range(20))
    work(bench, ACTIONS, until=20)
    send_actions(bench, range(20, 30))
    assert "offsets 20 to 24 of" in skip(bench, 25, "--yes").stdout
    if lost != "nothing":
        shutil.rmtree(bench.folder / "state")
    work(bench, ACTIONS, until=30)
    assert items(bench) == LEFT
    if lost == "folder":  # the changelog alone agrees
        shutil.rmtree(bench.folder / "state")
        send_actions(bench, range(30, 31))
        work(bench, ACTIONS, until=31)
        assert items(bench) == [*LEFT, 30]
    (letter,) = (json.loads(record.value) for record in bench.read(DEAD_LETTERS))
    assert (letter["reason"], letter["partition"], letter["offset"]) == ("skipped", PARTITION, 20)
    assert "offsets 20 to 24" in letter["message"]


def test_two_skips_before_a_worker_comes_are_one(bench):
    bench.create_topics()
    send_actions(bench, range(30))
    assert skip(bench, 3, "--yes").exit_code == 0
    assert skip(bench, 25, "--yes").exit_code == 0
    work(bench, ACTIONS, until=30)
    assert items(bench) == list(range(25, 30))


def test_skipped_requests_are_not_answered(bench):
    bench.create_topics()
    for number in range(6):
        bench.send(REQUESTS, b"u1", json.dumps({"request_id": f"r{number}", "user_id": "u1", "limit": 3}).encode())
    bench.producer.flush()
    assert skip(bench, 4, "--yes", "--topic", "requests").exit_code == 0
    work(bench, REQUESTS, until=6)
    assert bench.feeds().keys() == {"r4", "r5"}


def test_it_refuses_while_a_worker_is_alive_and_where_there_is_nothing_to_skip(bench):
    bench.create_topics()
    send_actions(bench, range(10))
    worker = bench.worker()
    bench.wait_committed(10, ACTIONS)
    assert "are alive" in refusal(skip(bench, 5, "--yes"))
    assert worker.terminate() == 0
    assert "--to-offset 10 skips nothing: the group is at 10" in refusal(skip(bench, 10, "--yes"))
    assert "which ends at 10" in refusal(skip(bench, 11, "--yes"))
    send_actions(bench, range(10, 12))
    asked = rankstream(
        "skip", "--partition", PARTITION, "--to-offset", 11, "--app-id", bench.settings.app_id,
        *connected(bench.settings), text="n\n",
    )  # fmt: skip
    assert asked.exit_code != 0
    assert "skip these 1, so that no worker reads them?" in asked.stderr
    assert bench.committed(ACTIONS) == 10
