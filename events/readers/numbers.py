"""Amounts as people and spreadsheets write them, with either mark for the decimals and with a currency's sign.

::

    19.99   $5   1,299.00   ->  the point is the decimals'
    12,90 €   1.299,00   1 299,00 EUR   ->  the comma is
    1,299   ->  1299: three digits behind a comma are thousands; 1.299 -> 1.299, as every program writes a number
"""

import re

SIGNS = re.compile(r"^\s*(?:[A-Z]{3}|[$€£¥₹])?\s*|\s*(?:[A-Z]{3}|[$€£¥₹]|%)?\s*$")
SPACES = re.compile(r"(?<=[0-9])[ '\u00a0\u202f\u2019](?=[0-9]{3})")  # between thousands


def amount(text: str) -> float:
    """Return the number that a text writes. Raises ``ValueError``."""
    plain = SPACES.sub("", SIGNS.sub("", text))
    comma, point = plain.rfind(","), plain.rfind(".")
    if comma > point >= 0 or plain.count(".") > 1:
        plain = plain.replace(".", "").replace(",", ".")
    elif point < 0 and plain.count(",") == 1 and len(plain) - comma != 4:
        plain = plain.replace(",", ".")
    return float(plain.replace(",", ""))
