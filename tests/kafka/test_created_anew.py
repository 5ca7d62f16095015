"""A topic deleted and created anew: its first offsets mean other records than those that users' states know."""

import asyncio
import shutil
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from rocksdict import Rdict

from rankstream.features.stores.rocksdb import POSITION, SOURCE, RocksStore
from rankstream.streams.topics import ACTIONS, CHANGELOG, Topic, TopicsRefusedError
from rankstream.streams.worker.source import UNKNOWN, Source, unpacked
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench, Worker, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

OLD, NEW = 50, 120  # actions: the new topic grows past the old one in each partition


def delete(bench: Bench, topic: Topic) -> None:
    async def go() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
        await admin.start()
        await admin.delete_topics([bench.names.of(topic)])
        while bench.names.of(topic) in await admin.list_topics():
            await asyncio.sleep(0.05)
        await admin.close()

    asyncio.run(go())


def apply_the_old(bench: Bench) -> None:
    """Let a worker apply the actions of a topic that is to be deleted."""
    bench.create_topics()
    bench.send_actions(OLD, users=OLD)
    worker = bench.worker()
    bench.wait_committed(OLD, ACTIONS)
    assert worker.terminate() == 0


def create_anew(bench: Bench) -> None:
    """Delete the topic, create it again and let other users act, until it is longer than it was."""
    before = {tp: bounds.end for tp, bounds in bench.bounds(ACTIONS).items()}
    delete(bench, ACTIONS)
    bench.create_topics()
    bench.forget_producer()  # it knows the old topic
    bench.send_actions(NEW, users=NEW, start=1_000)
    assert all(bounds.end > before[tp] for tp, bounds in bench.bounds(ACTIONS).items())


def folders(bench: Bench) -> list:
    root = bench.folder / "state" / bench.settings.app_id
    return [root / f"{bench.names.of(ACTIONS)}-{number}" for number in range(bench.settings.partitions)]


def assert_refused(bench: Bench, whose: str) -> None:
    """Start a worker: it ends with the sentence, and has applied nothing of the new topic."""
    old = bench.changelog()
    worker = bench.worker()
    assert worker.process.wait(PATIENCE_S) != 0
    assert f"{whose} has users up to offset" in worker.log
    assert "but that topic was created anew since (its id was " in worker.log
    assert f" away and delete the topic {bench.names.of(CHANGELOG)} to start without the users" in worker.log
    assert bench.changelog() == old
    assert bench.states() in ({}, {key: state for (_, key), state in old.items() if key != POSITION})


def test_states_of_a_topic_that_was_created_anew_are_refused_and_the_remedy_helps(bench):
    apply_the_old(bench)
    create_anew(bench)
    assert_refused(bench, "its state folder")
    shutil.rmtree(bench.folder / "state")
    delete(bench, CHANGELOG)
    worker = bench.worker()
    bench.wait_committed(NEW, ACTIONS)
    assert worker.terminate() == 0
    assert bench.states() == bench.expected_states()


def test_so_is_a_changelog_of_it_where_the_folder_is_lost(bench):
    apply_the_old(bench)
    create_anew(bench)
    shutil.rmtree(bench.folder / "state")
    assert_refused(bench, "the changelog")
    assert_refused(bench, "the changelog")
    assert bench.states() == {}, "users of the old topic were restored"


def test_so_is_a_changelog_of_it_beside_users_of_the_new_topic(bench):
    """It was switched off while they were made: what it says is logged would keep theirs out of it."""
    apply_the_old(bench)
    create_anew(bench)
    shutil.rmtree(bench.folder / "state")
    bench.settings = replace(bench.settings, changelog=False)
    worker = bench.worker()
    bench.wait_committed(NEW, ACTIONS)
    assert worker.terminate() == 0
    bench.settings = replace(bench.settings, changelog=True)
    refused = bench.worker()
    assert refused.process.wait(PATIENCE_S) != 0
    assert "the changelog has users up to offset" in refused.log


def test_a_topic_created_anew_under_a_running_worker_ends_it_and_then_is_refused(bench, broker):
    bench.create_topics()
    bench.send_actions(OLD, users=OLD)
    worker = bench.worker(LOOK_AGAIN_S="1")
    bench.wait_committed(OLD, ACTIONS)
    create_anew(bench)
    assert worker.process.wait(PATIENCE_S) > 0
    if not broker.is_kafka:  # Kafka's own metadata may show first that the topic is gone
        assert "was created anew while its records were applied (its id was " in worker.log
    again = bench.worker()
    assert again.process.wait(PATIENCE_S) != 0
    assert "but that topic was created anew since (its id was " in again.log


def topic_of(store: RocksStore) -> Source:
    """Return which topic a position counts in, without the last record."""
    return unpacked(store.source).with_last_of(UNKNOWN)


def test_a_folder_of_an_older_version_opens_and_is_told_which_topic_it_belongs_to(bench):
    apply_the_old(bench)
    kept = {}
    for folder in folders(bench):
        store = RocksStore(folder)
        kept[folder] = topic_of(store)
        store.close()
        raw = Rdict(str(folder))
        del raw[SOURCE]
        raw.close()
    assert len(set(kept.values())) == 1
    assert UNKNOWN not in kept.values()
    bench.send_actions(20, users=OLD, start=OLD)
    worker = bench.worker()
    bench.wait_committed(OLD + 20, ACTIONS)
    assert worker.terminate() == 0
    assert bench.states() == bench.expected_states()
    for folder in folders(bench):
        store = wait_until(lambda folder=folder: RocksStore(folder), "the store opens")
        assert topic_of(store) == kept[folder]
        store.close()


def create_changelog_anew(bench: Bench) -> None:
    delete(bench, CHANGELOG)
    wait_until(lambda: try_to(bench.create_topics), "the changelog is there again")


def logged(bench: Bench) -> dict[bytes, bytes]:
    return {key: state for (_, key), state in bench.changelog().items() if key != POSITION}


def try_to(work) -> bool:
    try:
        work()
    except TopicsRefusedError:  # brokers take their time to forget a topic
        return False
    return True


def go_on(bench: Bench, worker: Worker) -> None:
    """Let few users act, and the worker log them, or end; then kill it."""
    bench.send_actions(20, users=5, start=OLD)
    all_done = OLD + 20
    wait_until(lambda: worker.process.poll() is not None or bench.committed(ACTIONS) >= all_done, "it went on or ended")
    worker.kill()


def log_to_a_new_changelog(bench: Bench) -> None:
    """Log all users, then a few of them to a changelog that was created anew under the worker, which is killed."""
    bench.create_topics()
    bench.send_actions(OLD, users=OLD)
    worker = bench.worker()
    bench.wait_committed(OLD, ACTIONS)
    create_changelog_anew(bench)
    go_on(bench, worker)


def test_a_changelog_created_anew_under_a_running_worker_is_not_taken_for_whole(bench):
    """What is logged to it since are the users who acted since: with the folder lost, the others must not be."""
    log_to_a_new_changelog(bench)
    shutil.rmtree(bench.folder / "state")
    heir = bench.worker()
    wait_until(lambda: logged(bench) == bench.expected_states(), "all users are logged again", every_s=0.5)
    assert heir.terminate() == 0
    assert bench.states() == bench.expected_states()


def test_such_a_changelog_is_filled_from_the_folder_at_the_next_start(bench):
    log_to_a_new_changelog(bench)
    again = bench.worker()
    again.wait_ready()
    bench.wait_committed(OLD + 20, ACTIONS)
    assert again.terminate() == 0
    assert logged(bench) == bench.states() == bench.expected_states()


def test_a_running_worker_notices_it_and_ends_with_a_sentence(bench, broker):
    bench.create_topics()
    bench.send_actions(OLD, users=OLD)
    worker = bench.worker(LOOK_AGAIN_S="1")
    bench.wait_committed(OLD, ACTIONS)
    create_changelog_anew(bench)
    assert worker.process.wait(PATIENCE_S) > 0
    assert "was created anew while states were logged to it (its id was " in worker.log
