from rankstream.streams.worker.source import UNKNOWN, Source, unpacked


def test_a_source_is_kept_as_it_was():
    for source in (UNKNOWN, Source("a"), Source("a", 4)):
        assert unpacked(source.packed()) == source


def test_what_an_older_version_kept_has_no_number_and_what_a_later_one_adds_is_ignored():
    assert unpacked(b'{"topic_id":"a"}') == Source("a")
    assert unpacked(b'{"topic_id":"a","partitions":4,"more":[1]}') == Source("a", 4)
    assert unpacked(None) == unpacked(b"[[") == UNKNOWN


def test_numbers_of_partitions_are_compared_where_both_are_known():
    assert Source("a", 4).is_split_otherwise(Source("a", 8))
    assert not Source("a", 4).is_split_otherwise(Source("a", 4))
    assert not Source("a").is_split_otherwise(Source("a", 8))
    assert not Source("a", 4).is_split_otherwise(UNKNOWN)
