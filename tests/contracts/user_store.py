"""The promise of every user store, as a suite; each store's test file runs it by subclassing."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rankstream.features.stores.base import UserStore

OpenStore = Callable[[], UserStore]
user_keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).map(str.encode)
SHARED_BY_SUBCLASSES = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
writes = st.lists(st.dictionaries(user_keys, st.binary(min_size=1, max_size=40), max_size=5), max_size=6)


class UserStoreContract:
    @pytest.fixture
    def open_store(self, tmp_path) -> OpenStore:
        raise NotImplementedError("return a function that opens a new, empty store at each call")

    @pytest.fixture
    def store(self, open_store):
        store = open_store()
        yield store
        store.close()

    def test_a_new_store_is_empty_and_has_no_position(self, store):
        assert store.next_offset is None
        assert list(store.items()) == []
        assert store.get_many([b"u1", b"u2"]) == [None, None]

    def test_records_are_returned_in_the_order_of_the_keys(self, store):
        store.write({b"u1": b"one", b"u2": b"two"}, 2)
        assert store.get_many([b"u2", b"unknown", b"u1"]) == [b"two", None, b"one"]

    def test_the_position_is_written_with_the_records(self, store):
        store.write({b"u1": b"one"}, 17)
        store.write({}, 40)
        assert store.next_offset == 40

    def test_records_behind_a_key_are_read_on_from_there_whether_it_is_there_or_not(self, store):
        store.write({b"u1": b"one", b"u2": b"two", b"u3": b"three"}, 3)
        assert [key for key, _ in store.items(b"u1")] == [key for key, _ in store.items(b"u11")] == [b"u2", b"u3"]
        assert list(store.items(b"u3")) == []

    def test_records_of_a_part_of_a_set_leave_the_position_alone(self, store):
        store.write({b"u1": b"one"}, None)
        assert store.next_offset is None
        store.write({b"u2": b"two"}, 17)
        store.write({b"u1": b"three"}, None)
        assert store.next_offset == 17
        assert list(store.items()) == [(b"u1", b"three"), (b"u2", b"two")]

    def test_records_without_a_log_are_read_at_once_and_leave_the_position_alone(self, store):
        store.write({b"u1": b"one", b"u2": b"two"}, 17)
        store.write_unlogged({b"u1": b"three"})
        store.flush()
        store.write_unlogged({b"u3": b"four"})
        assert list(store.items()) == [(b"u1", b"three"), (b"u2", b"two"), (b"u3", b"four")]
        assert store.next_offset == 17

    def test_the_source_is_kept_beside_the_position_and_is_no_user(self, store):
        assert store.source is None
        store.write({b"u1": b"one"}, 17)
        store.set_source(b"topic 1")
        store.write({}, 18)
        assert (store.source, store.next_offset) == (b"topic 1", 18)
        assert list(store.items()) == [(b"u1", b"one")]

    def test_no_keys_no_records(self, store):
        assert store.get_many([]) == []

    def test_the_position_is_no_user(self, store):
        store.write({b"u1": b"one"}, 1)
        assert list(store.items()) == [(b"u1", b"one")]

    def test_users_of_any_name_are_kept_apart(self, store):
        names = ["7", "07", "\0next", "next", "\U0010ffffnext", "ÿnext", " "]
        store.write({name.encode(): name.encode() for name in names}, 7)
        assert store.get_many([name.encode() for name in names]) == [name.encode() for name in names]
        assert store.next_offset == 7

    def test_a_larger_store_reports_more_bytes(self, store):
        empty = store.size_bytes()
        store.write({b"u%d" % n: b"x" * 1000 for n in range(1000)}, 1000)
        assert store.size_bytes() - empty > 500_000

    @given(writes=writes)
    @settings(max_examples=25, suppress_health_check=SHARED_BY_SUBCLASSES)
    def test_the_store_is_the_dictionary_of_all_writes(self, open_store, writes):
        store, held = open_store(), {}
        for number, records in enumerate(writes, start=1):
            store.write(records, number)
            held |= records
        assert list(store.items()) == sorted(held.items())
        assert store.next_offset == (len(writes) or None)
        store.close()
