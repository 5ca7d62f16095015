"""What is left of a process that died with records in hand, and what the next one makes of it."""

from pathlib import Path

import pytest

from rankstream.streams.worker.in_hand import InHand
from tests.builders.actions import ARecord, an_event

LOG = [an_event("u1", offset=offset) for offset in range(10)]


def died(path: Path, *records: ARecord, position: int = 0) -> None:
    """Leave the file as a process does that dies with these records in hand."""
    in_hand = InHand(path, "a source", position)
    held = in_hand.held(records)
    held.__enter__()
    in_hand.close()


def parts(path: Path, at_once: int = 100, position: int = 0, records: list[ARecord] = LOG) -> list[list[int]]:
    in_hand = InHand(path, "a source", position)
    cut = [[record.offset for record in part] for part in in_hand.parts(records, at_once)]
    in_hand.close()
    return cut


def killers(path: Path, position: int = 0) -> list[int]:
    in_hand = InHand(path, "a source", position)
    in_hand.close()
    return in_hand.killers


def test_after_an_orderly_end_all_records_are_worked_on_together(tmp_path):
    in_hand = InHand(tmp_path / "in-hand")
    with in_hand.held(LOG):
        pass
    in_hand.close()
    assert parts(tmp_path / "in-hand") == [list(range(10))]
    assert parts(tmp_path / "in-hand", at_once=4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert parts(tmp_path / "in-hand", records=[]) == []


def test_an_exception_is_no_death(tmp_path):
    in_hand = InHand(tmp_path / "in-hand")
    with pytest.raises(ZeroDivisionError), in_hand.held(LOG):
        1 / 0  # noqa: B018
    in_hand.close()
    assert parts(tmp_path / "in-hand") == [list(range(10))]


def test_what_the_process_died_with_is_worked_on_one_at_a_time(tmp_path):
    died(tmp_path / "in-hand", *LOG[3:6])
    assert parts(tmp_path / "in-hand") == [[0, 1, 2], [3], [4], [5], [6, 7, 8, 9]]
    assert parts(tmp_path / "in-hand", records=LOG[6:]) == [[6, 7, 8, 9]]
    assert killers(tmp_path / "in-hand") == []


def test_a_record_that_the_process_died_with_alone_twice_is_a_killer_and_the_others_stay_suspects(tmp_path):
    died(tmp_path / "in-hand", *LOG[3:6])
    died(tmp_path / "in-hand", LOG[4])
    assert killers(tmp_path / "in-hand") == []
    died(tmp_path / "in-hand", LOG[4])
    assert killers(tmp_path / "in-hand") == [4]
    died(tmp_path / "in-hand", LOG[5])
    died(tmp_path / "in-hand", LOG[5])
    assert killers(tmp_path / "in-hand") == [4, 5]
    assert parts(tmp_path / "in-hand") == [[0, 1, 2], [3], [4], [5], [6, 7, 8, 9]]


def test_two_deaths_with_different_records_alone_have_another_cause(tmp_path):
    for record in (*LOG[3:6], LOG[3]):
        died(tmp_path / "in-hand", record)
    assert killers(tmp_path / "in-hand") == []


def test_killers_are_forgotten_once_the_position_is_past_them(tmp_path):
    for _ in range(2):
        died(tmp_path / "in-hand", LOG[4])
    assert killers(tmp_path / "in-hand", position=4) == [4]
    assert killers(tmp_path / "in-hand", position=5) == []
    assert killers(tmp_path / "in-hand") == []


def test_a_file_that_was_cut_off_counts_as_empty(tmp_path):
    (tmp_path / "in-hand").write_bytes(b"\0" * 7)
    assert parts(tmp_path / "in-hand") == [list(range(10))]


def test_a_file_that_something_else_wrote_names_no_killers(tmp_path):
    file = tmp_path / "in-hand"
    file.write_bytes(bytes(48) + b"\xff" * 80)  # as many killers as -1
    assert killers(file) == []
