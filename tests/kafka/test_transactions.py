"""Transactions of those who write actions: what they abort never happened, and their markers are no records."""

import asyncio
import json

import pytest
from aiokafka import AIOKafkaProducer

from rankstream.features.user_state import unpack_state
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.clients.time_order import in_time_order
from rankstream.streams.topics import ACTIONS, FEEDS, REQUESTS
from tests.builders.actions import MORNING_MS
from tests.builders.cli import connected, rankstream
from tests.kafka.harness import Bench, Worker, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def bench(bench: Bench, broker) -> Bench:
    if not broker.is_kafka:
        pytest.skip("the embedded broker knows no transactions")
    bench.create_topics()
    return bench


def an_action(user: str, item: int) -> bytes:
    event = {"user_id": user, "item_id": item, "action": "view", "timestamp_ms": MORNING_MS + item}
    return json.dumps(event).encode()


async def _transactions(bench: Bench, parts: tuple[tuple[range, str], ...]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.settings.bootstrap_servers, transactional_id=bench.settings.app_id
    )
    await producer.start()
    try:
        for items, ends in parts:
            await producer.begin_transaction()
            for item in items:
                await producer.send_and_wait(bench.names.of(ACTIONS), an_action("u1", item), key=b"u1")
            await (producer.commit_transaction() if ends == "commit" else producer.abort_transaction())
    finally:
        await producer.stop()


def transactions(bench: Bench, *parts: tuple[range, str]) -> None:
    """Write actions of user u1 in transactions, each of which ends with "commit" or "abort"."""
    asyncio.run(_transactions(bench, parts))


def answer_to(bench: Bench, number: int, user: str = "u1") -> dict:
    """Ask for a feed of the user and return it."""
    before = bench.feeds().total()
    request = {"request_id": f"r{number}", "user_id": user, "candidates": [1, 2, 3]}
    bench.send(REQUESTS, user.encode(), json.dumps(request).encode())
    bench.producer.flush()
    wait_until(lambda: bench.feeds().total() > before, "the request is answered")
    feeds = [json.loads(record.value) for record in bench.read(FEEDS)]
    (found,) = (feed for feed in feeds if feed["request_id"] == f"r{number}")
    return found


def end_of(bench: Bench) -> int:
    return sum(bounds.end for bounds in bench.bounds(ACTIONS).values())


def assert_no_alarm(worker: Worker) -> None:
    assert "deleted before they were read" not in worker.log, "a marker was taken for lost actions"
    assert "requests go on before" not in worker.log, "a request waited for a marker to be applied"


def test_actions_of_an_aborted_transaction_never_happened(bench):
    transactions(bench, (range(1, 3), "commit"), (range(10, 13), "abort"))
    worker = bench.worker()
    worker.wait_ready()
    assert answer_to(bench, 0)["actions_used"] == 2
    assert worker.terminate() == 0
    assert [unpack_state(state, 100).total for state in bench.states().values()] == [2]
    assert_no_alarm(worker)


def test_with_a_marker_as_the_last_offset_nothing_waits_and_the_group_has_no_lag(bench):
    transactions(bench, *[(range(n, n + 1), "commit" if n % 3 else "abort") for n in range(1, 40)])
    for number in range(2):
        worker = bench.worker()
        worker.wait_ready()
        assert answer_to(bench, number)["actions_used"] == 26
        bench.wait_committed(end_of(bench), ACTIONS)
        assert worker.terminate() == 0
        assert_no_alarm(worker)


def test_while_it_runs_markers_are_passed_without_reading_again(bench):
    worker = bench.worker()
    worker.wait_ready()
    for n in range(1, 6):
        transactions(bench, (range(n * 10, n * 10 + 2), "commit"), (range(n * 10 + 5, n * 10 + 8), "abort"))
    bench.wait_committed(end_of(bench), ACTIONS)
    assert answer_to(bench, 0)["actions_used"] == 10
    assert worker.terminate() == 0
    assert_no_alarm(worker)


def test_readers_come_to_the_end_and_return_what_was_committed(bench, tmp_path):
    transactions(bench, (range(1, 3), "commit"), (range(10, 13), "abort"))
    with TopicReader(bench.settings, ACTIONS, from_beginning=True) as reader:
        assert [json.loads(record.value or b"")["item_id"] for record in reader.read_all()] == [1, 2]
        assert reader.count() == end_of(bench) == 7, "two markers stand behind five records"
        assert len(list(in_time_order(reader))) == 2
    dumped = rankstream("topics", "dump", tmp_path / "dump", *connected(bench.settings))
    assert dumped.exit_code == 0, dumped.stderr
    lines = (tmp_path / "dump" / "user-actions.jsonl").read_text().splitlines()
    assert [json.loads(line)["value"]["item_id"] for line in lines] == [1, 2]


def test_readers_end_before_a_transaction_that_is_open(bench):
    transactions(bench, (range(1, 3), "commit"))

    async def story() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=bench.settings.bootstrap_servers, transactional_id=f"{bench.settings.app_id}-open"
        )
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(bench.names.of(ACTIONS), an_action("u1", 50), key=b"u1")
        await asyncio.to_thread(read_what_is_committed)
        await producer.abort_transaction()
        await producer.stop()

    def read_what_is_committed() -> None:
        with TopicReader(bench.settings, ACTIONS, from_beginning=True) as reader:
            assert [json.loads(record.value or b"")["item_id"] for record in reader.read_all()] == [1, 2]
        assert len(bench.read(ACTIONS)) == 2
        (bounds,) = (one for one in bench.bounds(ACTIONS).values() if one.count)
        assert (bounds.end, bounds.written) == (3, 4)
        worker = bench.worker()
        worker.wait_ready()
        assert answer_to(bench, 0)["actions_used"] == 2
        assert worker.terminate() == 0

    asyncio.run(story())
