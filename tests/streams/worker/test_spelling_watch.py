"""A worker says which fields nothing reads, once a name, and looks at one record a second."""

import json

from rankstream.streams.topics import ACTIONS, REQUESTS
from rankstream.streams.worker.spelling_watch import SpellingWatch
from tests.builders.actions import ARecord


class AClock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def records(**fields):
    return [ARecord(json.dumps(fields).encode())]


def test_a_misspelt_field_is_told_once(caplog):
    watch = SpellingWatch(REQUESTS, AClock())
    for _ in range(3):
        watch.look(records(request_id=1, user_id=1, topk=3, page=2))
    assert [one.getMessage() for one in caplog.records] == [
        "ranking-requests has records with a field 'topk', which nothing reads: 'top_k'?"
    ]


def test_names_that_are_made_up_do_not_fill_the_log(caplog):
    watch = SpellingWatch(ACTIONS, AClock())
    for number in range(60):
        watch.look(records(**{f"surface{'s' * (number % 5)}{'-' * number}": 1}))
    assert 0 < len(caplog.records) <= 20


def test_no_record_is_looked_at_before_a_second_is_over(caplog):
    watch = SpellingWatch(REQUESTS, lambda: 0.0)
    watch._due_at = 1.0
    watch.look(records(topk=3))
    assert not caplog.records


def test_what_is_no_record_of_the_topic_is_left_to_those_who_decode(caplog):
    watch = SpellingWatch(ACTIONS, AClock())
    for value in (None, b"", b"{", b"\xff", b"x" * 100_000):
        watch.look([ARecord(value)])
    watch.look([])
    assert not caplog.records
