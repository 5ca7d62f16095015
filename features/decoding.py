"""What decoding JSON that can't be trusted raises; whoever reads bytes of others catches all of it."""

import re

import msgspec

# Brackets that are nested some hundred deep, closed or not, in a field that nobody asked for, are a RecursionError.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# How deep that is, depends on the Python (1,000 levels in 3.11, 10,000 in 3.13) and on who calls: what one worker
# applied, another would reject. So no value that is deeper than this counts as one that can be read.
MAX_DEPTH = 128
TOO_DEEP = f"not JSON that can be read: brackets are nested deeper than {MAX_DEPTH}"

_strings = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_brackets = re.compile(rb"[][{}]")


def is_too_deep(value: bytes) -> bool:
    """Return whether brackets of a JSON value are nested deeper than ``MAX_DEPTH``."""
    if len(value) <= 2 * MAX_DEPTH or value.count(b"[") + value.count(b"{") <= MAX_DEPTH:  # nearly always
        return False
    depth = 0
    for bracket in _brackets.findall(_strings.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False
