"""How deep brackets may be nested in JSON that can't be trusted."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.decoding import MAX_DEPTH, is_too_deep


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth // 2) + b"[" * (depth - depth // 2) + b"]" * (depth - depth // 2) + b"}" * (depth // 2)


def depth_of(value: object) -> int:
    """Return how deep lists and objects are nested."""
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if within is None else 1 + max(map(depth_of, within), default=0)


@pytest.mark.parametrize(("depth", "too_deep"), [(MAX_DEPTH, False), (MAX_DEPTH + 1, True), (50_000, True)])
def test_as_deep_as_it_says(depth: int, too_deep: bool):
    assert is_too_deep(nested(depth)) == too_deep


def test_brackets_beside_each_other_and_in_texts_are_not_deep():
    assert not is_too_deep(b"[" + b"[]," * 5_000 + b"{}]")
    assert not is_too_deep(b'["' + b"[" * 5_000 + b'\\"' + b"{" * 5_000 + b'"]')


TEXTS = st.text(alphabet='[]{}"\\ a\n', max_size=20)
VALUES = st.recursive(TEXTS | st.integers(), lambda one: st.lists(one) | st.dictionaries(TEXTS, one), max_leaves=30)


@given(VALUES, st.integers(0, MAX_DEPTH + 4))
def test_it_is_what_the_value_itself_says(value: object, around: int):
    encoded = b"[" * around + msgspec.json.encode(value) + b"]" * around
    assert is_too_deep(encoded) == (around + depth_of(value) > MAX_DEPTH)
