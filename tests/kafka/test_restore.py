"""A partition's users restored from the changelog, whatever became of folder and source."""

import re
import shutil
from dataclasses import replace

import pytest

from rankstream.features.stores.rocksdb import POSITION
from rankstream.streams.topics import ACTIONS, CHANGELOG
from rankstream.streams.worker.changelog import offset_of
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(120)]


def apply_all(bench: Bench, count: int = 3_000, users: int = 150) -> None:
    bench.create_topics()
    bench.send_actions(count, users=users)
    worker = bench.worker()
    bench.wait_committed(count, ACTIONS)
    assert worker.terminate() == 0


def lose_the_folder(bench: Bench) -> None:
    shutil.rmtree(bench.folder / "state")


@pytest.fixture(scope="module")
def applied(broker, tmp_path_factory):
    """A bench with all of its actions applied, and no worker running."""
    bench = Bench(broker.bootstrap_servers, tmp_path_factory.mktemp("applied"), broker.session_timeout_s)
    apply_all(bench)
    yield bench
    bench.close()


def test_the_changelog_holds_what_the_stores_hold(applied):
    last = applied.changelog()
    assert {key: value for (_, key), value in last.items() if key != POSITION} == applied.states()
    ends = {tp.partition: bounds.end for tp, bounds in applied.bounds(ACTIONS).items()}
    positions = {number: value for (number, key), value in last.items() if key == POSITION}
    assert {number: int.from_bytes(value, "little") for number, value in positions.items()} == ends


def test_restored_users_are_the_same_and_no_action_is_read_again(applied):
    before = applied.states()
    lose_the_folder(applied)
    worker = applied.worker()
    worker.wait_ready()
    assert worker.terminate() == 0
    assert applied.states() == before == applied.expected_states()
    (records, rate) = re.findall(r"restored \S+ 0, 1, 2, 3: (\d+) records in \S+ s, (\d+)/s", worker.log)[0]
    print(f"restored {records} records, {rate}/s")
    assert int(records) == sum(bounds.count for bounds in applied.bounds(CHANGELOG).values())
    assert "without sending outputs again" not in worker.log


def test_a_restore_that_takes_too_long_reports_it_and_keeps_what_it_read(applied):
    lose_the_folder(applied)
    whole = applied.settings
    applied.settings = replace(whole, restore_deadline_s=1.0)
    slow = applied.worker(RESTORE_MS="200")
    assert slow.process.wait(60) != 0
    assert re.search(r"0, 1, 2, 3 took more than restore_deadline_s = 1 s, .*: raise restore_deadline_s", slow.log)
    applied.settings = whole
    applied.worker().wait_ready()
    assert applied.workers[-1].terminate() == 0
    assert applied.states() == applied.expected_states()


def test_without_changelog_a_lost_folder_is_filled_by_reading_the_source_without_outputs(bench):
    bench.settings = replace(bench.settings, changelog=False)
    bench.create_topics()
    bench.send_actions(3_000, bad_every=10)
    worker = bench.worker()
    bench.wait_committed(3_000, ACTIONS)
    assert worker.terminate() == 0
    lose_the_folder(bench)
    again = bench.worker()
    again.wait_ready()
    bench.send_actions(100, start=3_000)
    bench.wait_committed(3_100, ACTIONS)
    assert again.terminate() == 0
    assert bench.states() == bench.expected_states()
    assert bench.dead_letters().total() == len(bench.bad_records()), "reading on repeated dead letters"


def test_an_empty_changelog_is_filled_from_the_stores(bench):
    bench.settings = replace(bench.settings, changelog=False)
    apply_all(bench)
    bench.settings = replace(bench.settings, changelog=True)
    bench.create_topics()
    bench.worker().wait_ready()
    assert bench.workers[-1].terminate() == 0
    users = {key: value for (_, key), value in bench.changelog().items() if key != POSITION}
    assert users == bench.states()
    assert max(offset_of(value) for value in users.values()) > 0
