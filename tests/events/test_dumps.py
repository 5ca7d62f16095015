import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.action_event import Recorded, Unframed, unread
from rankstream.events.dumps import DumpError, read_dump, write_dump

VALUES = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.sampled_from(
        [b'{"a": 1}', b' {"a":1}', b'{"a":\n1}', b'{"a":1}\r', b"", b"null", b'"\xc3\xa9"', b'{"a": 1.50}']
    ),
)
RECORDS = st.builds(
    Recorded,
    topic=st.just("t"),
    partition=st.integers(0, 9),
    offset=st.integers(0, 1 << 40),
    timestamp=st.integers(0, 1 << 41),
    key=st.one_of(st.none(), st.binary(max_size=9), st.just("ключ".encode())),
    value=VALUES,
)


@given(records=st.lists(RECORDS, max_size=8))
def test_what_is_read_back_is_what_was_written_to_the_byte(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("dump") / "t.jsonl"
    assert write_dump(path, records) == len(records)
    assert list(read_dump(path, "t")) == records


def test_values_that_are_json_can_be_read_by_people(tmp_path):
    path = tmp_path / "t.jsonl"
    write_dump(path, [Recorded("t", 3, 17, 5, b"u1", b'{"user_id": "u1"}')])
    assert path.read_text() == '{"partition":3,"offset":17,"timestamp_ms":5,"key":"u1","value":{"user_id": "u1"}}\n'


def test_framed_values_are_written_as_they_were_read_or_as_they_were_sent(tmp_path):
    at, path = ("t", 0, 5, 7, b"u1"), tmp_path / "t.jsonl"
    write_dump(path, [Unframed(*at, b"{}", b"\0sent"), Unframed(*at, unread("no such schema"), b"\0sent")])
    assert [one.value for one in read_dump(path, "t")] == [b"{}", b"\0sent"]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "{}",
        '{"partition":0,"offset":0,"timestamp_ms":0,"value_base64":"!"}',
        '{"partition":0,"offset":0,"timestamp_ms":0,"key_base64":"é"}',
        '{"partition":-1,"offset":0,"timestamp_ms":0}',
        '{"partition":0,"offset":9223372036854775808,"timestamp_ms":0}',
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "t.jsonl"
    path.write_text('{"partition":0,"offset":0,"timestamp_ms":0}\n' + line + "\n")
    with pytest.raises(DumpError, match=rf"line 2 of {path} is no record of a dump"):
        list(read_dump(path, "t"))


def test_a_dump_that_was_broken_off_leaves_no_file(tmp_path):
    def records():
        yield Recorded("t", 0, 0, 0, None, None)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        write_dump(tmp_path / "t.jsonl", records())
    assert not (tmp_path / "t.jsonl").exists()
    assert not list(tmp_path.iterdir())  # nor what was begun beside it
