import numpy as np

from rankstream.features.embeddings.float16 import widen


def test_every_finite_float16_is_widened_to_the_bit():
    narrow = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = narrow[np.isfinite(narrow)]
    assert np.array_equal(widen(finite).view(np.uint32), finite.astype(np.float32).view(np.uint32))


def test_rows_of_a_larger_matrix_are_widened_in_their_shape():
    narrow = np.arange(24, dtype=np.float16).reshape(6, 4)
    assert widen(narrow[::2]).tolist() == narrow[::2].tolist()
    assert widen(narrow[:0]).shape == (0, 4)
