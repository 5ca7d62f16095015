"""One thing a user did to one item, and its 16 bytes.

The bytes of an action sort as actions do: by time, then type, then item. Order, duplicates and eviction
(``history.py``) are therefore comparisons of bytes, with nothing decoded on the way::

    0        6              14      15     16
    | stamp  | item key     |surface|value |    stamp = occurred_at_ms (42 bits) | type (6 bits)
    |------ identity -------|

Two actions of the same identity are one action.

A user's erasure is packed as an action of type 0, so that it keeps its place among them wherever actions go: all that
the user did up to its time is to be forgotten (``user_state.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import isfinite, log2, nextafter

import numpy as np
import numpy.typing as npt

from rankstream.features.ids import Keys

Codes = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

ACTION_BYTES = 16
IDENTITY_BYTES = 14
ITEM = slice(6, IDENTITY_BYTES)  # the item key, 8 bytes, big-endian
MAX_ACTION_TYPES = 63  # type 0 is padding in models, and an erasure in a log
ERASURE = 0
MAX_SURFACES = 255  # surface 0 is "none, or not in the vocabulary"
MAX_TIME_MS = (1 << 42) - 1  # May 2109
VALUE_STEPS = 16.0  # codes per doubling: a value is kept within 2.2 %
MAX_VALUE_CODE = 255
NEARLY = 1e-12  # how far the least value of a code may lie from what the logarithm's inverse says

PACKED_WORD = np.dtype(">u8")  # of the two that an action is
PACKED = np.dtype([("high", ">u2"), ("low", ">u4"), ("item", ">u8"), ("surface", "u1"), ("value", "u1")])


class VocabularyRefusedError(RuntimeError):
    """Names that don't fit the states that there are; the message is one sentence and says what to do."""


@dataclass(frozen=True)
class Vocabulary:
    """The names that a model knows; codes count from 1 in the order given.

    Raises ``ValueError`` for an empty, repeated or over-long list.
    """

    actions: tuple[str, ...]
    surfaces: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        _check_names("action types", self.actions, 1, MAX_ACTION_TYPES)
        _check_names("surfaces", self.surfaces, 0, MAX_SURFACES)

    @cached_property
    def action_codes(self) -> dict[str, int]:
        """Name of an action type -> its code, from 1."""
        return {name: code for code, name in enumerate(self.actions, start=1)}

    @cached_property
    def surface_codes(self) -> dict[str, int]:
        """Name of a surface -> its code, from 1."""
        return {name: code for code, name in enumerate(self.surfaces, start=1)}


def _check_names(what: str, names: Sequence[str], minimum: int, maximum: int) -> None:
    if not minimum <= len(names) <= maximum or len(set(names)) != len(names):
        raise ValueError(f"{len(names)} {what} given ({', '.join(names)}); wanted {minimum} to {maximum}, each once")


@dataclass(frozen=True, slots=True)
class Action:
    """One action, decoded: codes of the vocabulary instead of names, a key instead of an id."""

    item_key: int
    action_type: int  # code in the vocabulary, 1..63
    occurred_at_ms: int  # UTC
    surface: int = 0
    value_code: int = 0  # see value_code()

    def pack(self) -> bytes:
        """Return the 16 bytes."""
        return pack_action(self.occurred_at_ms, self.action_type, self.item_key, self.surface, self.value_code)


def pack_action(occurred_at_ms: int, action_type: int, item_key: int, surface: int, value: int) -> bytes:
    """Pack the fields of an action; the hot path's form of ``Action(...).pack()``."""
    stamp = occurred_at_ms << 6 | action_type
    return ((stamp << 64 | item_key) << 16 | surface << 8 | value).to_bytes(16, "big")


def pack_erasure(at_ms: int) -> bytes:
    """Pack the erasure of a user as of a time, ms, UTC."""
    return pack_action(at_ms, ERASURE, 0, 0, 0)


def pack_actions(times_ms: Codes, types: Codes, item_keys: Keys, surfaces: Codes, values: Codes) -> bytes:
    """Pack columns ``(n,)`` of actions, without a loop: the bytes of ``pack_action`` one after the other."""
    return bytes_of_words(*action_words(times_ms, types, item_keys, surfaces, values))


def action_words(times_ms: Codes, types: Codes, item_keys: Keys, surfaces: Codes, values: Codes) -> tuple[Words, Words]:
    """Return both halves of each packed action ``(n,)`` as a number: what ``pack_actions`` writes, most of it first."""
    stamps, rest = (times_ms << 6 | types).astype(np.uint64), (surfaces << 8 | values).astype(np.uint64)
    return stamps << np.uint64(16) | item_keys >> np.uint64(48), item_keys << np.uint64(16) | rest


def bytes_of_words(high: Words, low: Words) -> bytes:
    """Return packed actions, one after the other, of both halves of each."""
    return np.stack([high, low], axis=1).astype(PACKED_WORD).tobytes()


def words_of_bytes(packed: bytes) -> tuple[Words, Words]:
    """Return both halves of each packed action of those that lie one after the other."""
    high, low = np.frombuffer(packed, PACKED_WORD).reshape(-1, 2).T.astype(np.uint64, order="C")
    return high, low


def unpack_action(packed: bytes) -> Action:
    """Return the action that ``pack`` packed."""
    number = int.from_bytes(packed, "big")
    stamp = number >> 80
    return Action(
        item_key=number >> 16 & (1 << 64) - 1,
        action_type=stamp & 63,
        occurred_at_ms=stamp >> 6,
        surface=number >> 8 & 255,
        value_code=number & 255,
    )


def action_time_ms(packed: bytes) -> int:
    """Return occurred_at_ms of a packed action, nothing else decoded."""
    return int.from_bytes(packed[:6], "big") >> 6


def action_type(packed: bytes) -> int:
    """Return the type's code of a packed action, nothing else decoded."""
    return packed[5] & 63


def is_erasure(packed: bytes) -> bool:
    """Return whether it is no action, but the erasure of its user."""
    return not packed[5] & 63


def has_erasure(actions: Sequence[bytes]) -> bool:
    """Return whether there is an erasure among packed actions; a loop, as it is asked of each batch."""
    for action in actions:  # noqa: SIM110  # a generator costs more than the look
        if not action[5] & 63:
            return True
    return False


def value_code(value: float | None) -> int:
    """Return the 8-bit code of an action's value (seconds watched, a price): logarithmic, 0 for none.

    Raises ``ValueError`` for a negative or infinite value.
    """
    if value is None:
        return 0
    if not isfinite(value) or value < 0:
        raise ValueError(f"value {value} is not a finite number of at least 0")
    return min(MAX_VALUE_CODE, 1 + round(VALUE_STEPS * log2(1.0 + value)))


def value_codes(values: npt.NDArray[np.float64]) -> Codes:
    """Return ``value_code`` of each finite value ``(n,)``, the same code, without a loop."""
    codes = np.minimum(np.rint(VALUE_STEPS * np.log2(1.0 + values)), MAX_VALUE_CODE - 1).astype(np.int64)  # from 0
    least = np.append(min_values(), np.inf)
    return codes + 1 - (values < least[codes]) + (values >= least[codes + 1])  # numpy's logarithm is not Python's


@cache
def min_values() -> npt.NDArray[np.float64]:
    """Return the least value of each code from 1 on: numpy's logarithm may differ from Python's in the last bit."""
    return np.array([_min_value(code) for code in range(1, MAX_VALUE_CODE + 1)])


def _min_value(code: int) -> float:
    below, minimum = -1.0, float(2 ** (MAX_VALUE_CODE / VALUE_STEPS))
    near = float(2 ** ((code - 1.5) / VALUE_STEPS)) - 1.0
    for bound in (near * (1 - NEARLY), near * (1 + NEARLY)):  # bisecting all floats takes six times as long
        below, minimum = _nearer(code, bound, below, minimum)
    while nextafter(below, minimum) < minimum:  # bisect until no float lies between
        below, minimum = _nearer(code, below + (minimum - below) / 2, below, minimum)
    return minimum


def _nearer(code: int, value: float, below: float, minimum: float) -> tuple[float, float]:
    """Return the bounds of a code's least value, one of them another value between."""
    return (below, value) if value >= 0 and value_code(value) >= code else (value, minimum)


@dataclass(frozen=True)
class ActionColumns:
    """Packed actions as columns, in the order that they were packed."""

    item_keys: Keys  # (n,) uint64
    action_types: npt.NDArray[np.int64]  # (n,)
    times_ms: npt.NDArray[np.int64]  # (n,)
    surfaces: npt.NDArray[np.int64]  # (n,)
    log_values: npt.NDArray[np.float32]  # (n,) log2(1 + value), 0 where there is none

    def __len__(self) -> int:
        return len(self.item_keys)

    def __getitem__(self, part: slice | npt.NDArray[np.bool_]) -> "ActionColumns":
        return ActionColumns(
            self.item_keys[part],
            self.action_types[part],
            self.times_ms[part],
            self.surfaces[part],
            self.log_values[part],
        )


def columns(packed: bytes) -> ActionColumns:
    """Decode packed actions without a loop."""
    rows = np.frombuffer(packed, PACKED)
    stamps = rows["high"].astype(np.int64) << 32 | rows["low"].astype(np.int64)
    return ActionColumns(
        item_keys=rows["item"].astype(np.uint64),
        action_types=stamps & 63,
        times_ms=stamps >> 6,
        surfaces=rows["surface"].astype(np.int64),
        log_values=LOG_VALUES.take(rows["value"]),
    )


def log_values_of(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return log2(1 + value) of value codes, ``(n,)``, exact in float32; 0 where there is none."""
    return (np.maximum(codes - 1, 0) / VALUE_STEPS).astype(np.float32)


LOG_VALUES = log_values_of(np.arange(MAX_VALUE_CODE + 1))  # of each code
