"""What the tables say of numbers, without a terminal or a broker."""

import pytest

from rankstream.cli.views.feeds import heads_text


@pytest.mark.parametrize(
    ("calibrated", "text"),
    [
        (("click", "save"), "click, save: probabilities"),
        ((), "click, save: scores, no probabilities"),
        (("save",), "save: a probability; click: a score, no probability"),
    ],
)
def test_a_number_is_called_a_probability_only_where_it_was_calibrated(calibrated, text):
    assert heads_text(("click", "save"), calibrated) == text
