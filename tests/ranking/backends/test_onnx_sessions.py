import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.ranking.bundle import open_bundle
from tests.builders.bundle import a_bundle, vectors_of


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    return open_bundle(a_bundle(tmp_path_factory.mktemp("bundle"))).sessions


STATES, POOLED = vectors_of(100, 6, 0), vectors_of(100, 8, 1)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 99), max_size=70))
def test_a_fold_has_the_same_bits_alone_and_in_any_company(sessions, rows):
    together = sessions.fold(STATES[rows], POOLED[rows])
    alone = [sessions.fold(STATES[[row]], POOLED[[row]])[0] for row in rows]
    assert np.array_equal(together, np.array(alone, np.float32).reshape(-1, 6))


def test_closed_sessions_are_folded_one_after_the_other(sessions):
    state = STATES[:1]
    for row in POOLED[:3]:
        state = sessions.fold(state, row[None])
    folded_first = sessions.encode(state[0], POOLED[:0], POOLED[3:5])
    assert np.array_equal(sessions.encode(STATES[0], POOLED[:3], POOLED[3:5]), folded_first)


@pytest.mark.parametrize("closed", [0, 2])
@pytest.mark.parametrize("opened", [0, 1, 20])
def test_any_user_is_encoded_with_or_without_sessions(sessions, closed, opened):
    vector = sessions.encode(STATES[0], POOLED[:closed], POOLED[:opened])
    assert vector.shape == (sessions.dim,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
