"""Amounts as people and spreadsheets write them, with either mark for the decimals and with a currency's sign.

::

    19.99   $5   1,299.00   ->  the point is the decimals'
    12,90 €   1.299,00   1 299,00 EUR   ->  the comma is
    1,299   ->  1299: three digits behind a comma are thousands; 1.299 -> 1.299, as every program writes a number
"""

import re

CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}  # of other dollars say which: EUR 5, AUD 5
SIGNS = re.compile(r"^\s*(?:[A-Z]{3}|[$€£¥₹])?\s*|\s*(?:[A-Z]{3}|[$€£¥₹]|%)?\s*$")
SIGN = re.compile(r"(?<![A-Za-z])[A-Z]{3}(?![A-Za-z])|[$€£¥₹]")
SPACES = re.compile(r"(?<=[0-9])[ '\u00a0\u202f\u2019](?=[0-9]{3})")  # between thousands


def currency_of(text: str) -> str | None:
    """Return the currency that a text names beside a number; None where it names none."""
    found = SIGN.search(text)
    return None if found is None else CURRENCIES.get(found[0], found[0])


def amount(text: str) -> float:
    """Return the number that a text writes. Raises ``ValueError``."""
    plain = SPACES.sub("", SIGNS.sub("", text))
    comma, point = plain.rfind(","), plain.rfind(".")
    if comma > point >= 0 or plain.count(".") > 1:
        plain = plain.replace(".", "").replace(",", ".")
    elif point < 0 and plain.count(",") == 1 and len(plain) - comma != 4:
        plain = plain.replace(",", ".")
    return float(plain.replace(",", ""))
