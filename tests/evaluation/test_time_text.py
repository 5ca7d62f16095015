"""Times on the command line are read as those of a log."""

import pytest

from rankstream.evaluation.time_text import parse_time_ms

NOON_MS = 1_651_665_600_000  # 2022-05-04 12:00 UTC


@pytest.mark.parametrize(
    "text",
    ["2022-05-04T12:00", "2022-05-04 12:00:00 UTC", "2022-05-04T14:00+02:00", "2022/05/04 12:00", "20220504T120000",
     str(NOON_MS)],
)  # fmt: skip
def test_times_are_utc_unless_they_have_a_zone(text):
    assert parse_time_ms(text) == NOON_MS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("soon", "'soon' is no time; write 2022-05-04"),
        ("04/05/2022", "is no time"),
        ("1651665600", "would be 1970-01-20; write"),
        ("1651665600000000", "would be the year 5"),
        ("2300-01-01", "is not from 1970 to 2109"),
    ],
)
def test_what_is_no_time_is_refused_with_the_forms_that_are(text, words):
    with pytest.raises(ValueError, match=words):
        parse_time_ms(text)
