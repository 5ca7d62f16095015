import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.ids import HASHED, id_key, id_keys


def test_a_number_and_its_text_are_the_same_item():
    assert id_key(42) == id_key("42") == 42


def test_texts_that_only_look_like_numbers_are_others():
    assert len({id_key(text) for text in ("7", "07", "+7", "7.0", " 7", "٧")}) == 6


@given(st.integers(0, HASHED - 1))
def test_an_integer_is_its_own_key(number: int):
    assert id_key(number) == id_key(str(number)) == number


@given(st.one_of(st.text(min_size=1), st.integers(max_value=-1), st.integers(min_value=HASHED)))
def test_every_id_has_a_key_of_64_bits_and_hashes_never_collide_with_integers(identifier: int | str):
    key = id_key(identifier)
    assert 0 <= key < 2**64
    is_number = str(identifier).isascii() and str(identifier).isdecimal() and key == int(identifier)
    assert is_number or key >= HASHED


def test_many_keys_are_the_keys_of_each():
    assert np.array_equal(id_keys(["a", 1, "1"]), np.array([id_key("a"), 1, 1], np.uint64))


@given(st.lists(st.one_of(st.integers(-5, 5), st.integers(HASHED - 2, HASHED + 2), st.booleans())))
def test_keys_of_integers_are_those_of_each_whatever_is_among_them(identifiers: list[int]):
    assert id_keys(identifiers).tolist() == [id_key(one) for one in identifiers]
