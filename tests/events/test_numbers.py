"""Amounts as people and spreadsheets write them."""

import pytest

from rankstream.events.readers.numbers import amount, currency_of

AMOUNTS = {
    "19.99": 19.99,
    "19": 19.0,
    "-3.5": -3.5,
    "1e3": 1000.0,
    "$5": 5.0,
    "USD 1,299.00": 1299.0,
    "1,299": 1299.0,
    "12,90 €": 12.9,
    "1.299,00 €": 1299.0,
    "1.299.000": 1_299_000.0,
    "1.234.567,8": 1_234_567.8,
    "1 299,00 EUR": 1299.0,
    "1\u202f299,5": 1299.5,
    "CHF 1'299.00": 1299.0,
    "1.299": 1.299,
}


@pytest.mark.parametrize("text", AMOUNTS)
def test_amounts_are_read_as_they_are_meant(text):
    assert amount(text) == AMOUNTS[text]


def test_an_amount_may_name_its_currency():
    named = {"$5": "USD", "12,90 €": "EUR", "CHF 1'299.00": "CHF", "5 AUD": "AUD", "19.99": None, "1e3": None}
    assert {text: currency_of(text) for text in named} == named


@pytest.mark.parametrize("text", ["", "much", "1,2,3,x", "5 USD 6"])
def test_what_is_no_amount_is_none(text):
    with pytest.raises(ValueError, match="could not convert"):
        amount(text)
