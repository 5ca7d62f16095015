"""What a worker says of itself: memory and its parts, files, users, and the age of its checkpoints."""

import tracemalloc

from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.worker.figures import figures_of
from tests.builders.actions import SomeLiveRanker, an_event
from tests.builders.partition import a_partition


def test_a_worker_without_partitions_has_figures_of_the_process():
    found = figures_of([])
    assert (found.partitions, found.cached_users, found.memtable_bytes) == (0, 0, 0)
    assert found.resident_bytes > 10e6
    assert found.descriptors > 2
    assert found.threads >= 1


def test_users_and_what_rocksdb_holds_of_them_are_counted(tmp_path):
    partitions = [a_partition(0), a_partition(1)]
    store = RocksStore(tmp_path / "users-1")
    partitions[1].pipeline = Pipeline(UserCache(store), SomeLiveRanker())
    before = figures_of(partitions)
    partitions[1].pipeline.on_actions([an_event(f"u{number}", offset=number) for number in range(30)])
    changed = figures_of(partitions)
    assert (changed.partitions, changed.cached_users, changed.changed_users, changed.actions) == (2, 30, 30, 30)
    partitions[1].pipeline.users.commit(partitions[1].pipeline.users.take_changes(30))
    written = figures_of(partitions)
    assert (written.cached_users, written.changed_users) == (30, 0)
    assert written.memtable_bytes > before.memtable_bytes > 0
    store.close()


def test_the_oldest_checkpoint_counts():
    partitions = [a_partition(0), a_partition(1)]
    partitions[0].checkpointed_at -= 5
    assert 5 <= figures_of(partitions).checkpoint_age_s < 6


def test_what_python_has_is_known_where_it_is_traced():
    assert figures_of([]).python_bytes is None
    tracemalloc.start()
    try:
        assert figures_of([]).python_bytes > 0
    finally:
        tracemalloc.stop()
