"""The log: a line a record, whatever is in it, and libraries that are told once."""

import json
import logging
import sys
from typing import Any

import pytest

from rankstream.streams.log_lines import JsonLine, Quiet, TextLine, logging_config, set_up

STEP = "[^---Fetcher]: Starting..."
NO_NODE = "Unable connect to node with id %s: %s"


def a_record(
    message: str = "hello", *args: Any, name: str = "rankstream.streams.app", level: int = logging.INFO, **more: Any
):
    made = logging.LogRecord(name, level, "app.py", 7, message, args, None)
    made.created = 1_700_000_000.0625
    vars(made).update(more)
    return made


def with_traceback(**more: Any) -> logging.LogRecord:
    record = a_record("it failed\nbadly", **more)
    try:
        raise ValueError("no\nsuch thing")
    except ValueError:
        record.exc_info = sys.exc_info()
    return record


def test_a_line_of_text_has_its_time_in_utc_its_level_and_what_is_at_hand():
    line = TextLine().format(a_record("user %s", 7, request_id="r1"))
    assert line == "2023-11-14T22:13:20.062Z INFO streams.app: user 7 request_id=r1"


def test_a_traceback_is_on_the_line_of_its_record():
    line = TextLine().format(with_traceback())
    assert len(line.splitlines()) == 1
    assert "it failed | badly | Traceback" in line
    assert line.endswith("ValueError: no | such thing")


def test_json_has_the_exception_in_one_field_and_whatever_else_was_told():
    line = JsonLine().format(with_traceback(request_id=7, figures={"lag": 3}, odd=object, surrogate="\ud800"))
    found = json.loads(line)
    assert len(line.splitlines()) == 1
    assert (found["time"], found["level"], found["logger"]) == ("2023-11-14T22:13:20.062Z", "INFO", "streams.app")
    assert (found["message"], found["request_id"], found["figures"]) == ("it failed\nbadly", 7, {"lag": 3})
    assert found["exception"].startswith("Traceback")
    assert found["exception"].endswith("ValueError: no\nsuch thing")


class AClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(
    quiet: Quiet, clock: AClock, message: str, *args: Any, seconds: int, level: int = logging.ERROR
) -> list[float]:
    """Log the same four times a second for a while; return when it was let through."""
    times = []
    for _ in range(4 * seconds):
        if quiet.filter(a_record(message, *args, name="aiokafka.client", level=logging.ERROR)):
            times.append(clock.now)
        clock.now += 0.25
    return times


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    return AClock()


def test_steps_of_libraries_are_not_told_and_our_own_words_are(clock):
    quiet = Quiet(clock)
    assert not quiet.filter(a_record(STEP, name="faust.transport.consumer"))
    assert quiet.filter(a_record("[^---Recovery]: Worker ready", name="faust.tables.recovery"))
    assert not quiet.filter(a_record(STEP))
    assert quiet.filter(a_record("partition 3: restored"))
    assert quiet.filter(a_record("the end", name="faust.app", level=logging.CRITICAL))


def test_at_debug_everything_is_told(clock, monkeypatch):
    monkeypatch.setattr(logging.root, "level", logging.DEBUG)
    assert quiet_lets(Quiet(clock), STEP)


def quiet_lets(quiet: Quiet, message: str) -> bool:
    return quiet.filter(a_record(message, name="mode.services"))


def test_the_same_line_of_a_library_comes_once_a_minute(clock):
    assert told(Quiet(clock), clock, "Topic %s not found", "x", seconds=130) == [0, 60, 120]


def test_a_connection_that_breaks_for_a_moment_is_not_told_and_one_that_stays_broken_is(clock):
    quiet = Quiet(clock)
    assert told(quiet, clock, NO_NODE, 1, "refused", seconds=9) == []
    clock.now += 100
    begun = clock.now
    assert [at - begun for at in told(quiet, clock, NO_NODE, 1, "refused", seconds=80)] == [10, 70]


def test_while_no_broker_answers_libraries_tell_nothing_and_afterwards_they_begin_anew(clock):
    quiet = Quiet(clock)
    quiet.is_down = lambda: True
    assert told(quiet, clock, NO_NODE, 1, "refused", seconds=300) == []
    quiet.is_down = lambda: False
    assert told(quiet, clock, NO_NODE, 1, "refused", seconds=9) == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_set_up_writes_lines_of_that_form(form, capfd):
    before = logging.root.handlers[:], logging.root.level
    try:
        set_up("INFO", form)
        logging.getLogger("rankstream.gateway").warning("hello", extra={"request_id": "r1"})
        (line,) = capfd.readouterr().err.splitlines()
    finally:
        logging.root.handlers[:], level = before
        logging.root.setLevel(level)
    assert (json.loads(line)["request_id"] == "r1") if form == "json" else line.endswith("gateway: hello request_id=r1")


def test_faust_merges_its_level_into_ours():
    assert "level" not in logging_config("text", Quiet())["root"]


def test_why_a_worker_ends_is_told_once_without_fausts_traceback():
    quiet = Quiet()
    crashes = [a_record(words, name=name, level=logging.CRITICAL) for words, name in (
        ("[^-App]: Crashed reason=%r", "faust.app.base"),
        ("[^QuietFaustWorker]: We experienced a crash! Reraising original exception...", "faust.worker"),
    )]  # fmt: skip
    assert all(quiet.filter(one) for one in crashes)  # Faust alone knows of it
    quiet.has_told_why = lambda: True
    assert not any(quiet.filter(one) for one in crashes)
    assert quiet.filter(a_record("the worker ends: ...", level=logging.CRITICAL))


def test_why_a_worker_could_not_start_is_told_also_where_it_is_about_connections(clock):
    ended = a_record(
        "[^QuietFaustWorker]: Error: %r", OSError("Connection refused"), name="faust.worker", level=logging.ERROR
    )
    assert Quiet(clock).filter(ended)
