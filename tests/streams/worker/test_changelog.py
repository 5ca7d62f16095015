import asyncio
from typing import Any

import numpy as np
import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.stores.base import StoreRefusedError
from rankstream.features.stores.cache import Changes
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import POSITION, DamagedStoreError, RocksStore
from rankstream.features.user_state import CorruptStateError, UserState, unpack_state
from rankstream.streams.worker.changelog import RestoreJob, seed
from rankstream.streams.worker.changelog_marks import BEGIN_HEADER, LOG_HEADER
from rankstream.streams.worker.logged_states import RestoreError, offset_of, offset_of_sound
from rankstream.streams.worker.newest_offsets import NewestOffsets
from rankstream.streams.worker.offsets import Bounds
from rankstream.streams.worker.opening import is_behind
from rankstream.streams.worker.source import UNKNOWN, Source, unpacked
from tests.builders.actions import ARecord, a_state, an_action, an_erasure


def a_user_record(offset: int) -> bytes:
    """The state of a user whose last action was at this offset."""
    return a_state().apply([an_action(at=offset)], offset).state.pack()


def some_states() -> list[bytes]:
    """States without an action, with two, and with sessions that left the history."""
    many = a_state(*(an_action("abcde"[at % 5], 2_000 * at) for at in range(9)), limit=4)
    folded = many.tail.folded(7, np.ones(4, np.float32))
    return [
        UserState().pack(), a_user_record(3), many.pack(),
        UserState(many.history, folded, 8, 9, many.departed).pack(),
    ]  # fmt: skip


STATES = [*some_states(), *(a_state(an_erasure(1), *more).pack() for more in ([], [an_action("a", 2)]))]


def logged(key: bytes, offset: int) -> ARecord:
    value = offset.to_bytes(8, "little") if key == POSITION else a_user_record(offset)
    return ARecord(value, key, topic="user-state-changelog")


def a_restore(store: MemoryStore, end: int = 10) -> RestoreJob:
    return RestoreJob(TP("user-state-changelog", 0), store, Bounds(0, end))


def restored(store: MemoryStore, *records: Any) -> MemoryStore:
    job = a_restore(store)
    job.apply(records)
    job.finish()
    return store


def test_the_offset_is_read_out_of_a_packed_state():
    assert offset_of(a_user_record(77)) == 77


def test_what_is_no_state_is_refused():
    for wrong in (b"", b"\x01", b"\x07" + a_user_record(1)[1:]):
        with pytest.raises(CorruptStateError):
            offset_of(wrong)


def test_states_and_position_are_restored():
    store = restored(MemoryStore(), logged(b"u1", 4), logged(b"u2", 7), logged(POSITION, 8))
    assert [offset_of(record or b"") for record in store.get_many([b"u1", b"u2"])] == [4, 7]
    assert store.next_offset == 8


def test_a_local_state_that_is_newer_stays():
    store = MemoryStore()
    store.write({b"u1": a_user_record(9)}, 10)
    restored(store, logged(b"u1", 4), logged(POSITION, 5))
    assert offset_of(store.get_many([b"u1"])[0] or b"") == 9
    assert store.next_offset == 10


@settings(max_examples=100)
@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 9)), max_size=6), max_size=6))
def test_an_empty_store_that_is_not_asked_for_each_user_gets_the_same_states(chunks):
    asked, told = MemoryStore(), MemoryStore()
    plain, quick = a_restore(asked), a_restore(told)
    quick.written = NewestOffsets(2)  # so few that users share slots
    for chunk in chunks:
        records = [logged(b"u%d" % user, offset) for user, offset in chunk]
        plain.apply(records)
        quick.apply(records)
    assert list(told.items()) == list(asked.items())


def test_only_users_of_whom_something_newer_may_be_written_are_asked_for():
    written = NewestOffsets(1)
    assert written.to_ask({b"u1": 4, b"u2": 2}) == []
    assert written.to_ask({b"u3": 4, b"u4": 9, b"u1": 3}) == [b"u1"]
    assert written.to_ask({b"u4": -1, b"u5": 10}) == [b"u4"]


def test_the_position_is_set_when_all_before_it_is_on_disk(tmp_path, monkeypatch):
    store = RocksStore(tmp_path / "users-0")
    job = a_restore(store)
    job.apply([logged(b"u1", 4), logged(POSITION, 5)])
    monkeypatch.setattr(store, "flush", failing)
    with pytest.raises(StoreRefusedError):
        job.finish()
    assert store.next_offset is None
    monkeypatch.undo()
    job.finish()
    assert store.next_offset == 5
    store.close()


def failing() -> None:
    raise StoreRefusedError("the disk is full")


@given(st.sampled_from(STATES), st.integers(0, 60), st.integers(0, 255), st.integers(0, 12))
def test_a_state_that_is_taken_for_sound_unpacks_to_the_same_offset(packed, at, byte, cut):
    mutated = packed[:at] + bytes([byte]) + packed[at + 1 : len(packed) - cut]
    for data in (packed, mutated):
        offset = offset_of_sound(data)
        assert offset is None or offset == unpack_state(data).offset
    assert offset_of_sound(packed) == unpack_state(packed).offset


def test_an_unfinished_restore_claims_no_position():
    store = MemoryStore()
    a_restore(store).apply([logged(b"u1", 4), logged(POSITION, 5)])
    assert store.next_offset is None
    store.write({}, 3)
    a_restore(store).apply([logged(b"u1", 4), logged(POSITION, 5)])
    assert store.next_offset == 3, "states newer than the position do no harm"


def test_a_set_that_is_whole_before_the_first_action_has_a_position_too():
    assert restored(MemoryStore(), logged(b"u1", -1), logged(POSITION, 0)).next_offset == 0


def test_the_topic_that_a_position_counts_in_is_restored_with_it():
    position = logged(POSITION, 8)
    position.headers = (("another", b"?"), ("source", b'{"topic_id":"a"}'))  # type: ignore[attr-defined]
    store = restored(MemoryStore(), logged(b"u1", 4), position)
    assert (store.next_offset, unpacked(store.source)) == (8, Source("a"))


def test_a_position_of_an_older_version_names_no_topic():
    store = restored(MemoryStore(), logged(b"u1", 4), logged(POSITION, 8))
    assert (store.next_offset, unpacked(store.source)) == (8, UNKNOWN)


@pytest.mark.parametrize(
    ("kept", "now", "another"),
    [("a", "a", False), ("a", "b", True), ("", "b", False), ("a", "", False), ("", "", False)],
)
def test_topics_are_told_apart_where_both_ids_are_known(kept, now, another):
    assert Source(kept).is_another(Source(now)) is another


def test_what_a_later_version_knows_of_a_topic_does_no_harm():
    assert unpacked(b'{"topic_id":"a","partitions":8,"leader_epoch":3}') == Source("a", 8)
    assert unpacked(b"\x00?") == UNKNOWN


def test_a_changelog_without_position_leaves_reading_at_the_beginning():
    store = restored(MemoryStore(), logged(b"u1", 4))
    assert store.next_offset is None


@pytest.mark.parametrize("value", [b"", b'{"user_id": "u1"}', b"\xff" * 100, b"\x01"])
def test_what_something_else_wrote_is_skipped_and_named(value, caplog):
    foreign = ARecord(value, b"u1", topic="user-state-changelog", offset=17)
    store = restored(MemoryStore(), logged(b"u1", 4), foreign, logged(b"u2", 7), logged(POSITION, 8))
    assert [offset_of(record or b"") for record in store.get_many([b"u1", b"u2"])] == [4, 7]
    assert store.next_offset == 8
    (line,) = [record.getMessage() for record in caplog.records]
    assert "user-state-changelog 0, offset 17, key b'u1'" in line


def test_a_state_of_a_later_version_is_no_foreign_record():
    later = ARecord(b"\x09" + a_user_record(4)[1:], b"u1", topic="user-state-changelog", offset=17)
    with pytest.raises(RestoreError, match=r"user-state-changelog 0, offset 17, key b'u1': .* later version"):
        restored(MemoryStore(), later)


def test_records_without_key_or_value_are_skipped():
    store = restored(MemoryStore(), ARecord(None, b"u1"), ARecord(b"x", None), logged(POSITION, 3))
    assert (list(store.items()), store.next_offset) == ([], 3)


class AnOutbox:
    def __init__(self) -> None:
        self.written: list[Changes] = []

    async def write(self, letters: list[Any], changes: Changes, offsets: dict[TP, int]) -> bool:
        self.written.append(changes)
        return True


def test_a_changelog_gets_the_users_that_it_lacks_and_the_position_last(monkeypatch):
    monkeypatch.setattr("rankstream.streams.worker.changelog.RECORDS_AT_ONCE", 2)
    store, outbox = MemoryStore(), AnOutbox()
    store.write({b"u%d" % n: a_user_record(n) for n in range(8)}, 8)
    assert asyncio.run(seed(outbox, store, 8, since=3)) == 5  # type: ignore[arg-type]
    assert [list(changes.records) for changes in outbox.written] == [[b"u3", b"u4"], [b"u5", b"u6"], [b"u7"]]
    assert [changes.next_offset for changes in outbox.written] == [None, None, 8]


@pytest.mark.parametrize("share", [0.001, 0.5])
def test_a_damaged_store_gives_a_changelog_no_position(tmp_path, monkeypatch, share):
    """Its first users would be taken for all."""
    monkeypatch.setattr("rankstream.streams.worker.changelog.RECORDS_AT_ONCE", 100)
    store, outbox = RocksStore(tmp_path / "users"), AnOutbox()
    store.write({b"u%d" % n: a_user_record(n) + bytes(200) for n in range(2_000)}, 2_000)
    store.close()
    table = next((tmp_path / "users").glob("*.sst"))
    raw = bytearray(table.read_bytes())
    raw[int(share * len(raw))] ^= 0xFF
    table.write_bytes(raw)
    store = RocksStore(tmp_path / "users")
    with pytest.raises(DamagedStoreError):
        asyncio.run(seed(outbox, store, 2_000, since=0))  # type: ignore[arg-type]
    assert [changes.next_offset for changes in outbox.written if changes.next_offset is not None] == []
    store.close()


def a_position_for(log_id: str, offset: int) -> ARecord:
    position = logged(POSITION, offset)
    position.headers = ((LOG_HEADER, log_id.encode()),)  # type: ignore[attr-defined]
    return position


def test_a_position_that_was_written_for_another_topic_of_the_name_says_nothing():
    """The changelog was created anew under a running worker: what it holds is a part."""
    store = MemoryStore()
    job = RestoreJob(TP("user-state-changelog", 0), store, Bounds(0, 2), log_id="new")
    job.apply([logged(b"u1", 3), a_position_for("old", 4)])
    job.finish()
    assert (len(list(store.items())), store.next_offset) == (1, None)
    job.apply([a_position_for("new", 4)])
    job.finish()
    assert store.next_offset == 4


@given(st.lists(st.tuples(st.sampled_from([b"u1", b"u2", b"u3"]), st.integers(0, 50)), max_size=30), st.integers(1, 30))
def test_however_the_changelog_is_cut_each_user_ends_at_the_newest_state(log, size):
    store, job = MemoryStore(), None
    job = a_restore(store)
    for at in range(0, len(log), size):
        job.apply([logged(key, offset) for key, offset in log[at : at + size]])
    newest = {key: max(offset for other, offset in log if other == key) for key, _ in log}
    assert {key: offset_of(record) for key, record in store.items()} == newest


@pytest.mark.parametrize(
    ("position", "logged", "source", "changelog", "behind"),
    [
        (None, None, (0, 0), (0, 0), False),  # all is new
        (500, None, (0, 900), (0, 0), False),  # no changelog to read
        (500, None, (505, 900), (0, 50), False),  # it is not whole: what it holds helps nobody who has a position
        (None, 500, (0, 900), (0, 50), True),  # the folder is gone
        (None, None, (0, 900), (0, 50), True),  # and the changelog is not whole: better than nothing
        (520, 500, (0, 900), (0, 50), False),  # after a kill of the same worker
        (490, 500, (0, 900), (0, 50), False),  # a little behind: reading ten actions is quicker
        (100, 500, (0, 900), (0, 50), True),  # far behind
        (100, 110, (105, 900), (0, 50), True),  # behind, and what it lacks has expired
    ],
)
def test_the_changelog_is_read_where_that_is_needed_or_faster(position, logged, source, changelog, behind):
    assert is_behind(position, logged, Bounds(*source), Bounds(*changelog)) is behind


@pytest.mark.parametrize("value", [b"", b"\x05", bytes(9), b"\xff" * 8])
def test_a_position_that_is_none_is_skipped_and_named(value, caplog):
    found = restored(MemoryStore(), logged(POSITION, 8), ARecord(value, POSITION, topic="user-state-changelog"))
    assert found.next_offset == 8
    assert "something else wrote it" in caplog.text


def test_a_state_that_breaks_off_behind_its_offset_is_skipped_too(caplog):
    """Restored, it would end whoever has the user act next."""
    found = restored(MemoryStore(), logged(b"u1", 4), ARecord(a_user_record(7)[:-1], b"u2"))
    assert found.get_many([b"u1", b"u2"]) == [a_user_record(4), None]
    assert "something else wrote it" in caplog.text


@pytest.mark.parametrize(("began", "position"), [(b"0", None), (b"5", 9), (b"6", 9), (b"?", 9), (None, 9)])
def test_a_position_of_a_log_that_has_lost_its_beginning_since_says_nothing(began, position):
    """Its oldest states were deleted, or expired; older versions did not say where it began."""
    written = logged(POSITION, 9)
    written.headers = ((BEGIN_HEADER, began),)  # type: ignore[attr-defined]
    job = RestoreJob(TP("user-state-changelog", 0), MemoryStore(), Bounds(5, 8))
    job.apply([logged(b"u1", 3), written])
    job.finish()
    assert job.store.next_offset == position
