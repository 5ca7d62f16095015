import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.schema import CANDIDATE_INPUTS
from rankstream.ranking.backends.packing import ALIGNED, layout_of, pack, packed_shapes, padded_rows
from rankstream.ranking.backends.two_graphs import user_arrays
from tests.builders.wide_graphs import some_inputs


@settings(max_examples=40)
@given(st.integers(0, 20), st.integers(0, 300))
def test_what_was_packed_is_read_back_and_padding_is_zeros(actions, candidates):
    inputs, rows = some_inputs(actions, candidates), padded_rows(candidates)
    layout = layout_of(packed_shapes(inputs, rows))
    packed = np.full(layout.nbytes, 255, np.uint8)
    pack(inputs, layout, packed)
    read = {one.name: packed[one.start : one.end].view(one.dtype).reshape(one.shape) for one in layout.fields}
    for name, array in user_arrays(inputs).items():
        assert np.array_equal(read[name], array)
    for name in CANDIDATE_INPUTS:
        assert np.array_equal(read[name][:candidates], getattr(inputs, name))
        assert not read[name][candidates:].any()
    assert all(one.start % ALIGNED == 0 for one in layout.fields)


def test_candidates_are_padded_to_few_counts():
    assert [padded_rows(count) for count in (0, 1, 64, 65, 500, 5000, 5121)] == [64, 64, 64, 128, 512, 5120, 5184]
