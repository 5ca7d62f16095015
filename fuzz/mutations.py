"""Inputs that nobody meant to send, made of sound ones by nothing but a random generator.

JSON is changed as JSON (a value of another type, a number that no field holds, brackets without end), and any input as
bytes (bits, cuts, repetitions, two inputs as one). Most decoders stop at the first wrong byte, so few changes are made
at once.
"""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

MARK = "\ue000odd"  # stands in a document for a text that json.dumps can't write
ODD = (
    "null", "true", "false", "0", "-1", "1", "-0.0", "1.5", "2147483648", "9007199254740993", "9223372036854775807",
    "9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "4398046511104",
    "1700000000", "1700000000000", "253402300800000", "1e18", "1e308", "1e999", "-1e999", "NaN", "Infinity",
    "9" * 4_400, "-" + "9" * 400, "1e-400", '""', '"a"', '" "', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"',
    '"' + "é" * 256 + '"', '"' + "\U0001f600" * 257 + '"', '"' + "7" * 300 + '"', '"' + "a" * 70_000 + '"',
    '"2023-11-14T22:13:20Z"', '"AAA"', '"AAAA"', '"_"', "[]", "{}", "[[]]", '{"a":1}', "[1,2]", "[" * 998,
    "[" * 998 + "]" * 998, '{"a":' * 990 + "1" + "}" * 990, "[" * 60_000, '"\\', "\udcff",
)  # fmt: skip
INTERESTING = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\n",
    b"\r\n",
    b'"',
    b",",
    b"{",
    b"]",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
)
MAX_BYTES = 1 << 18


def mutated(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Return a changed input; ``corpus`` are others, to be mixed with."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = _changed(rng, data, corpus)[:MAX_BYTES]
    return data


def _changed(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    if rng.random() < 0.6 and (b"{" in data or b"," in data):
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        lines[at] = _changed_line(rng, lines[at])
        return b"\n".join(lines)
    return rng.choice(BYTEWISE)(rng, data, corpus)


def _changed_line(rng: random.Random, line: bytes) -> bytes:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return _changed_field(rng, line)
    odd = rng.choice(ODD)
    place = _place(rng, document)
    if place is None:
        return _encoded(odd)
    container, key = place
    _change(rng, container, key)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    return _encoded(text.replace(json.dumps(MARK), odd).replace(f'"{MARK}"', odd))


def _encoded(text: str) -> bytes:
    """Return UTF-8, with halves of surrogate pairs in it as other programs write them."""
    return text.encode("utf-8", "surrogatepass")


def _place(rng: random.Random, document: Any) -> tuple[Any, Any] | None:
    """Return a container in a document and a key of it; any depth."""
    places: list[tuple[Any, Any]] = []
    todo = [document]
    while todo:
        one = todo.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        places += [(one, key) for key in keys]
        todo += [one[key] for key in keys]
    return rng.choice(places) if places else None


def _change(rng: random.Random, container: Any, key: Any) -> None:
    kind = rng.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[rng.choice(("", "a", "user_id", "items", "\0", "_"))] = MARK
    elif kind == 2 and isinstance(container, dict):
        container[key + rng.choice("_ s")] = container.pop(key)
    elif kind == 3 and isinstance(container, list):
        container[key:key] = [container[key]] * rng.choice((1, 7, 5_001))
    elif kind == 4 and isinstance(container, dict):
        container[key] = container[rng.choice(list(container))]
    else:
        container[key] = MARK


def _changed_field(rng: random.Random, line: bytes) -> bytes:
    """Change a field of delimited text."""
    delimiter = rng.choice((b",", b"\t", b";", b" "))
    fields = line.split(delimiter)
    at = rng.randrange(len(fields))
    kind = rng.randrange(4)
    if kind == 0:
        fields[at : at + 1] = []
    elif kind == 1:
        fields[at:at] = [fields[at]] * rng.choice((1, 40))
    else:
        fields[at] = _encoded(rng.choice(ODD))
    return delimiter.join(fields)


def _flip(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    raw = bytearray(data or b"\0")
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def _overwrite(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Put a number where one may stand: lengths and counts are what decoders trust."""
    width = rng.choice((1, 2, 4, 8))
    number = rng.choice(
        (0, 1, -1, -2, 127, 128, 255, 1 << 15, 1 << 31, (1 << 31) - 1, (1 << 63) - 1, rng.getrandbits(64))
    )
    raw = (number & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("little", "big")))
    at = rng.randrange(max(1, len(data)))
    return data[:at] + raw + data[at + width :]


def _cut(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _remove(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 8, 64)) :]


def _insert(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((*INTERESTING, rng.randbytes(9))) + data[at:]


def _repeat(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 16, 200))
    return data[:at] + data[at : at + size] * rng.choice((2, 50, 1_000)) + data[at + size :]


def _splice(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    other = rng.choice(corpus)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


BYTEWISE: tuple[Callable[[random.Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip, _flip, _overwrite, _overwrite, _cut, _remove, _insert, _repeat, _splice,
)  # fmt: skip
