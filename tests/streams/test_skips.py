"""What is passed over, as metadata of the group's offset and as a worker keeps to it."""

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from rankstream.streams import skips
from rankstream.streams.worker.checkpoint import Cursor
from rankstream.streams.worker.chunks import Fetched, ReadingPlan
from tests.builders.actions import an_event


@given(st.integers(0, 2**62), st.integers(1, 1000))
def test_a_skip_comes_out_of_its_metadata_as_it_went_in(begin: int, count: int):
    assert skips.unpacked(skips.packed(range(begin, begin + count))) == range(begin, begin + count)


@given(st.text() | st.none())
def test_any_other_metadata_skips_nothing(metadata: str | None):
    assert len(skips.unpacked(metadata)) == 0


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(1, 5))
def test_of_a_log_read_from_any_position_all_but_what_is_skipped_is_fresh(
    begin: int, skip_from: int, skip_to: int, size: int
):
    skipped, plan = range(skip_from, skip_to), ReadingPlan()
    cursor = Cursor(TP("user-actions", 0), begin, skipped=skipped)
    log = [an_event("u1", offset=offset) for offset in range(begin, 12)]
    fresh: list[int] = []
    for chunk in plan.cut(TP("user-actions", 0), Fetched(begin, log, 12), size) if log else []:
        fresh += [record.offset for record in cursor.fresh(chunk)]
        cursor.advance(chunk.end)
    assert fresh == [offset for offset in range(begin, 12) if offset not in skipped]


def test_more_digits_than_an_offset_has_skip_nothing():
    assert skips.unpacked(f"skip 5..{'9' * 5_000}") == skips.NOTHING
