"""A changelog that was not only compacted for a while, and lost its oldest records: it holds a part of the users."""

import shutil
from contextlib import closing

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResourceType, KafkaAdminClient

from rankstream.features.stores.rocksdb import POSITION
from rankstream.streams.topics import ACTIONS, CHANGELOG
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench, Worker, wait_until
from tests.kafka.test_rewritten_log import set_

pytestmark = [pytest.mark.broker, pytest.mark.slow]

USERS = 60


@pytest.fixture
def served(bench: Bench, broker) -> Worker:
    """A worker that has logged all users."""
    if not broker.is_kafka:
        pytest.skip("the embedded broker deletes no records")
    bench.create_topics()
    worker = bench.worker(LOOK_AGAIN_S="1")
    bench.send_actions(USERS, users=USERS)
    bench.wait_committed(USERS, ACTIONS)
    return worker


def delete_the_oldest(bench: Bench) -> None:
    """Delete what is logged of the users so far: brokers refuse that while a topic is compacted alone."""
    servers, topic = bench.settings.bootstrap_servers, bench.names.of(CHANGELOG)
    ends = {TopicPartition(*tp): bounds.end for tp, bounds in bench.bounds(CHANGELOG).items()}
    set_(servers, ConfigResourceType.TOPIC, topic, {"cleanup.policy": "delete"})
    with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
        admin.delete_records(ends)
    set_(servers, ConfigResourceType.TOPIC, topic, {"cleanup.policy": "compact"})


def logged(bench: Bench) -> dict[bytes, bytes]:
    return {key: state for (_, key), state in bench.changelog().items() if key != POSITION}


def test_a_worker_notices_it_and_writes_all_users_at_its_next_start(bench: Bench, served: Worker):
    delete_the_oldest(bench)
    assert served.process.wait(PATIENCE_S) > 0
    assert "records were deleted from it, or it is not compacted" in served.log
    again = bench.worker()
    again.wait_ready()
    assert again.terminate() == 0
    assert logged(bench) == bench.states() == bench.expected_states()


def test_where_the_folder_is_lost_too_users_are_built_from_their_actions(bench: Bench, served: Worker):
    """A position behind the gap says that they are in it."""
    served.kill()
    few = bench.worker()
    few.wait_ready()
    delete_the_oldest(bench)
    bench.send_actions(20, users=5, start=USERS)
    bench.wait_committed(USERS + 20, ACTIONS)
    few.kill()
    assert len(logged(bench)) <= 5
    shutil.rmtree(bench.folder / "state")
    heir = bench.worker()
    heir.wait_ready()
    assert "so it lacks users, and all are written to it again" in heir.log
    wait_until(lambda: logged(bench) == bench.expected_states(), "all users are logged again", every_s=0.5)
    assert heir.terminate() == 0
    assert bench.states() == bench.expected_states()
