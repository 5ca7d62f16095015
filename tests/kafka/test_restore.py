"""A partition's users restored from the changelog, whatever became of folder and source."""

import asyncio
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from click.testing import Result
from faust.types import TP
from kafka import KafkaAdminClient, TopicPartition

from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import POSITION
from rankstream.streams.broker import free_port
from rankstream.streams.engine import open_engine
from rankstream.streams.topics import ACTIONS, CHANGELOG
from rankstream.streams.worker.changelog import Logged, RestoreJob, logged_positions, restore
from rankstream.streams.worker.logged_states import offset_of
from rankstream.streams.worker.source import UNKNOWN
from rankstream.streams.worker.unpacked_columns import hand_on_columns
from rankstream.streams.worker.unpacking import bound_unpacking
from tests.builders.cli import connected, rankstream
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench, page, wait_until

PROGRESS = re.compile(r"it restores the partitions [0-3, ]+: [0-9,]+ of [0-9,]+ records, (\d+) %")

pytestmark = [pytest.mark.broker, pytest.mark.slow]


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


@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_a_restore_takes_its_records_in_any_number_at_once(applied, monkeypatch, engine):
    """Of columns a whole batch comes at once, however many records it has."""
    for name in ("MemoryRecords", "PartitionRecords", "FetchResult"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))  # so that what follows is taken back
    bound_unpacking()
    hand_on_columns()
    monkeypatch.setattr("rankstream.streams.worker.changelog.RECORDS_AT_ONCE", 7)
    sound_states = open_engine(engine).sound_states
    stores = {tp: MemoryStore() for tp in applied.bounds(CHANGELOG)}
    bounds = applied.bounds(CHANGELOG)
    asyncio.run(
        restore(
            applied.settings,
            [RestoreJob(tp, store, bounds[tp], sound_states=sound_states) for tp, store in stores.items()],
        )
    )
    restored = {key: value for store in stores.values() for key, value in store.items()}
    last = applied.changelog()
    assert restored == {key: value for (_, key), value in last.items() if key != POSITION}


def test_restored_users_are_the_same_and_no_action_is_read_again(applied):
    before = applied.states()
    lose_the_folder(applied)
    worker = applied.worker(RANKSTREAM_ENGINE="auto")  # the others here restore with the plain one
    worker.wait_ready()
    assert worker.terminate() == 0
    assert applied.states() == before == applied.expected_states()
    (records, rate) = re.findall(r"restored \S+ 0, 1, 2, 3: (\d+) records in \S+ s, (\d+)/s", worker.log)[0]
    print(f"restored {records} records, {rate}/s")
    assert int(records) == len(applied.read(CHANGELOG))
    assert "without sending outputs again" not in worker.log


def status_of(bench: Bench) -> Result:
    """Run `rankstream status` as a program would."""
    words = ("status", *connected(bench.settings), "--app-id", bench.settings.app_id)
    return rankstream(*words, "--worker", f"127.0.0.1:{bench.settings.web_port}", "--json")


def test_states_whose_codes_have_other_names_in_the_bundle_are_not_restored(applied):
    """The file of names was lost with the folder: a save would be read as a hide."""
    refused = applied.worker(state="other", NAMES="another,view")
    assert refused.process.wait(PATIENCE_S) > 0, refused
    assert "in the changelog" in refused.log, refused
    assert "but here they are another, view: train with the old names in their order" in refused.log
    assert not list((applied.folder / "other").rglob("CURRENT")), "it has opened states"


def test_a_restore_shows_its_progress_and_is_ready_when_it_is_done(applied, broker):
    lose_the_folder(applied)
    whole = applied.settings
    applied.settings = replace(whole, web_port=free_port())
    worker = applied.worker(RESTORE_MS="100")
    seen: list[tuple[int, str]] = []

    def is_ready() -> bool:
        status, document = page(applied.settings.web_port)
        if document.get("restoring"):
            seen.append((status, document["reasons"][0]))
        return status == 200

    wait_until(is_ready, f"the worker is ready {worker.log[-3000:]}")
    assert {status for status, _ in seen} == {503}
    progress = [int(PROGRESS.fullmatch(why)[1]) for _, why in seen]
    assert progress == sorted(progress)
    assert len(set(progress)) > 1
    done = wait_until(lambda: (now := status_of(applied)).exit_code == 0 and now, "the group is ready, too")
    check_status(json.loads(done.stdout), len(applied.read(ACTIONS)), broker.is_kafka)
    assert worker.terminate() == 0
    applied.settings = whole


def check_status(document: dict[str, Any], actions: int, is_kafka: bool) -> None:
    assert (document["ready"], document["state"]) == (True, "Stable")
    assert document["workers"][0]["page"]["partitions"] == [0, 1, 2, 3]
    if is_kafka:  # the embedded one does not tell who has what
        assert [one["partitions"] for one in document["members"]] == [[0, 1, 2, 3]]
        assert {one["member"] for one in document["partitions"]} == {document["members"][0]["member"]}
    assert sum(one["committed"] or 0 for one in document["partitions"] if "actions" in one["topic"]) == actions
    assert sum(one["lag"] for one in document["partitions"]) == 0


def test_a_restore_that_takes_too_long_reports_it_and_keeps_what_it_read(applied):
    lose_the_folder(applied)
    whole = applied.settings
    applied.settings = replace(whole, restore_deadline_s=1.0)
    slow = applied.worker(RESTORE_MS="200")
    assert slow.process.wait(PATIENCE_S) != 0
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
    switch_the_changelog_on(bench)
    bench.worker().wait_ready()
    assert bench.workers[-1].terminate() == 0
    users = {key: value for (_, key), value in bench.changelog().items() if key != POSITION}
    assert users == bench.states()
    assert max(offset_of(value) for value in users.values()) > 0


def logged_users(bench: Bench) -> dict[bytes, bytes]:
    return {key: value for (_, key), value in bench.changelog().items() if key != POSITION}


def switch_the_changelog_on(bench: Bench) -> None:
    bench.settings = replace(bench.settings, changelog=True)
    bench.create_topics()


def test_killed_while_an_empty_changelog_is_filled_it_is_filled_again(bench):
    bench.settings = replace(bench.settings, changelog=False)
    apply_all(bench)
    switch_the_changelog_on(bench)
    dying = bench.worker(SEEDS="6")
    assert dying.process.wait(PATIENCE_S) < 0
    some = logged_users(bench)
    assert 0 < len(some) < len(bench.states()), "it was not killed half-way"
    bench.worker().wait_ready()
    assert bench.workers[-1].terminate() == 0
    assert logged_users(bench) == bench.states() == bench.expected_states()
    assert "users that its changelog lacked" in bench.workers[-1].log


def test_a_changelog_switched_on_with_a_new_folder_gets_what_it_never_logged(bench):
    bench.settings = replace(bench.settings, changelog=False)
    apply_all(bench)
    lose_the_folder(bench)
    switch_the_changelog_on(bench)
    worker = bench.worker()
    expected = bench.expected_states()
    wait_until(lambda: logged_users(bench) == expected, "the changelog holds all users")
    assert worker.terminate() == 0


def test_a_changelog_that_was_off_for_a_while_gets_what_it_missed(bench):
    apply_all(bench)
    bench.settings = replace(bench.settings, changelog=False)
    bench.send_actions(500, users=70, start=3_000)
    worker = bench.worker()
    bench.wait_committed(3_500, ACTIONS)
    assert worker.terminate() == 0
    assert logged_users(bench) != bench.states()
    switch_the_changelog_on(bench)
    bench.worker().wait_ready()
    assert bench.workers[-1].terminate() == 0
    assert logged_users(bench) == bench.states() == bench.expected_states()
    told = re.findall(r"wrote (\d+) users that its changelog lacked", bench.workers[-1].log)
    assert sum(map(int, told)) == 70, "only those who acted meanwhile are written"


def expire(bench: Bench) -> None:
    """Let the group's offsets and all records of the source expire."""
    admin = KafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    ends = {TopicPartition(*tp): bounds.end for tp, bounds in bench.bounds(ACTIONS).items()}
    admin.delete_records(ends)
    admin.delete_groups([bench.settings.app_id])
    admin.close()


def test_killed_in_a_restore_when_all_else_has_expired_nobody_is_lost(bench, broker):
    if not broker.is_kafka:
        pytest.skip("the embedded broker deletes no records")
    apply_all(bench)
    before = bench.states()
    lose_the_folder(bench)
    expire(bench)
    dying = bench.worker(RESTORE_MS="200")
    wait_until(lambda: re.search(r"restoring .* [1-9]\d? %", dying.log), "the restore is half-way")
    dying.kill()
    assert bench.states() != before, "it was not killed half-way"
    heir = bench.worker()
    heir.wait_ready()
    assert heir.terminate() == 0
    assert bench.states() == before
    assert "users lack them" not in heir.log


def damage(bench: Bench) -> Path:
    """Damage the database of partition 1 and return its folder."""
    folder: Path = bench.folder / "state" / bench.settings.app_id / f"{bench.names.of(ACTIONS)}-1"
    os.truncate(next(folder.glob("MANIFEST-*")), 7)
    return folder


def test_a_damaged_store_is_moved_aside_and_restored(bench):
    apply_all(bench)
    before = bench.states()
    folder = damage(bench)
    worker = bench.worker()
    worker.wait_ready()
    assert worker.terminate() == 0
    assert bench.states() == before
    (aside,) = folder.parent.glob(f"{folder.name}.damaged-*")
    assert f"partition 1: the state folder {folder} can't be read" in worker.log
    assert f"it was moved to {aside} and is restored from the changelog" in worker.log


def test_a_damaged_store_is_refused_where_the_changelog_is_not_whole(bench):
    apply_all(bench)
    folder = damage(bench)
    bench.settings = replace(bench.settings, changelog=False)
    worker = bench.worker()
    assert worker.process.wait(PATIENCE_S) != 0
    assert f"the state folder {folder} can't be read" in worker.log
    assert "move it away and start again" in worker.log
    assert folder.exists()


@pytest.mark.parametrize("behind", [0, 3, 300, 3_000])
def test_the_position_of_a_changelog_is_found_however_much_stands_behind_it(bench, behind):
    bench.create_topics()
    tp = TP(bench.names.of(CHANGELOG), 0)
    for key, value in [(b"u1", b"?"), (POSITION, (7).to_bytes(8, "little")), *[(b"u2", b"?")] * behind]:
        bench.producer.send(tp.topic, value, key, partition=0)
    bench.producer.flush()
    bounds = bench.bounds(CHANGELOG)
    assert asyncio.run(logged_positions(bench.settings, bounds)) == {tp: Logged(7, UNKNOWN)}
