import numpy as np

from rankstream.features.embeddings.float16 import widen


def test_every_finite_half_is_widened_to_the_bit():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    assert np.array_equal(widen(finite).view(np.uint32), finite.astype(np.float32).view(np.uint32))


def test_rows_of_a_larger_matrix_are_widened_in_their_shape():
    halves = np.arange(24, dtype=np.float16).reshape(6, 4)
    assert widen(halves[::2]).tolist() == halves[::2].tolist()
    assert widen(halves[:0]).shape == (0, 4)
