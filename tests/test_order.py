"""In which order files of tests are handed out."""

from tests.order import ROOT, in_turn, known_seconds


def test_those_that_wait_and_those_that_compute_begin_side_by_side_the_longest_first():
    seconds = {"tests/kafka/a.py": 30, "tests/kafka/b.py": 60, "tests/c.py": 20, "tests/d.py": 5, "tests/e.py": 15}
    assert in_turn(seconds, seconds) == [
        "tests/kafka/b.py", "tests/c.py", "tests/e.py", "tests/kafka/a.py", "tests/d.py"
    ]  # fmt: skip


def test_files_that_nobody_has_timed_come_last_as_they_were_collected():
    assert in_turn(["tests/new.py", "tests/long.py", "tests/other.py"], {"tests/long.py": 9}) == [
        "tests/long.py", "tests/new.py", "tests/other.py"
    ]  # fmt: skip


def test_files_whose_seconds_are_known_are_there():
    assert [file for file in known_seconds() if not (ROOT / file).exists()] == []
