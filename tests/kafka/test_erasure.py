"""An erasure through workers: killed, restored from the changelog by one of the other engine, met by late actions."""

import importlib.util
import json
import shutil
from dataclasses import replace

import pytest

from rankstream.features.stores.rocksdb import POSITION
from rankstream.features.user_state import unpack_state
from rankstream.streams.topics import ACTIONS
from tests.builders.actions import MORNING_MS
from tests.builders.cli import connected, rankstream
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]
LATER_MS = MORNING_MS + 3_600_000
OTHER_ENGINE = "plain" if importlib.util.find_spec("numba") is None else "compiled"  # of the second worker


def act(bench: Bench, user: str, item: int, at_ms: int) -> None:
    event = {"user_id": user, "item_id": item, "action": "view", "timestamp_ms": at_ms}
    bench.send(ACTIONS, user.encode(), json.dumps(event).encode())
    bench.producer.flush()


def test_an_erased_user_stays_so_through_kills_restores_and_late_actions(bench: Bench):
    bench.create_topics()
    bench.send_actions(600, users=3)
    worker = bench.worker()
    bench.wait_committed(600, ACTIONS)
    assert rankstream("forget", "u1", "--at", "2023-11-14T22:30:00", "--yes", *connected(bench.settings)).exit_code == 0
    bench.wait_committed(601, ACTIONS)
    worker.kill()
    assert not len(unpack_state(bench.states()[b"u1"]).history)
    shutil.rmtree(bench.folder / "state")  # what is left is the changelog
    for at, item in enumerate([1, 2, 3]):
        act(bench, "u1", item, MORNING_MS + at)  # late: of before
    act(bench, "u1", 9, LATER_MS)
    bench.settings = replace(bench.settings, engine=OTHER_ENGINE)
    worker = bench.worker()
    bench.wait_committed(605, ACTIONS)
    assert worker.terminate() == 0
    state = unpack_state(bench.states()[b"u1"])
    assert (state.history.columns().item_keys.tolist(), state.total) == ([9], 1)
    assert bench.states() == bench.expected_states()
    assert {key: value for (_, key), value in bench.changelog().items() if key != POSITION} == bench.states()
    assert "3 forgotten" in worker.log
