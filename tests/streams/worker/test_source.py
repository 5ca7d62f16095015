from dataclasses import replace

from rankstream.events.action_event import Recorded
from rankstream.streams.worker.source import UNKNOWN, Source, unpacked


def a_record() -> Recorded:
    return Recorded("user-actions", 0, 7, 1_000, b"u1", b"{}")


def test_a_source_is_kept_as_it_was():
    for source in (UNKNOWN, Source("a"), Source("a", 4), Source("a", 4).after(a_record())):
        assert unpacked(source.packed()) == source


def test_what_an_older_version_kept_has_no_number():
    assert unpacked(b'{"topic_id":"a"}') == Source("a")


def test_numbers_of_partitions_are_compared_where_both_are_known():
    assert Source("a", 4).is_split_otherwise(Source("a", 8))
    assert not Source("a", 4).is_split_otherwise(Source("a", 4))
    assert not Source("a").is_split_otherwise(Source("a", 8))
    assert not Source("a", 4).is_split_otherwise(UNKNOWN)


def test_another_record_at_the_same_offset_is_told_by_its_key_value_and_time():
    kept = Source("a").after(a_record())
    assert kept.after(a_record()) == kept
    for other in ({"key": b"u2"}, {"value": b"{ }"}, {"timestamp": 1_001}, {"offset": 8}, {"value": None}):
        assert kept.after(replace(a_record(), **other)) != kept


def test_the_last_record_is_kept_where_the_topic_is_asked_again():
    assert Source("a", 4).with_last_of(Source("b", 2).after(a_record())) == Source("a", 4).after(a_record())
