import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.ranking.backends.onnx_sessions import CHAIN, TILE
from rankstream.ranking.backends.remembered import Remembered
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


def folded_alone(sessions, state, closed):
    """The plain way: each closed session by ``fold``, on a tile of 32 rows, and nothing remembered."""
    for row in closed:
        state = sessions.fold(state[None], row[None])[0]
    return state


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), max_size=8), st.integers(0, 3))
def test_a_request_has_the_bits_of_folds_on_tiles_whatever_was_asked_before(sessions, closings, opened):
    closed, nothing = 0, POOLED[:0]
    for count in closings:  # sessions that closed since the last request
        closed += count
        wanted = sessions.encode(folded_alone(sessions, STATES[1], POOLED[:closed]), nothing, POOLED[50 : 50 + opened])
        assert sessions.encode(STATES[1], POOLED[:closed], POOLED[50 : 50 + opened]).tobytes() == wanted.tobytes()


def test_only_sessions_that_closed_since_the_last_request_are_folded(sessions, monkeypatch):
    sessions.encode(STATES[2], POOLED[:40], POOLED[:2])
    folds, fold = [], sessions._fold_tile
    monkeypatch.setattr(sessions, "_fold_tile", lambda *tile: folds.append(1) or fold(*tile))
    for closed in (40, 41, 43):
        sessions.encode(STATES[2], POOLED[:closed], POOLED[:2])
    assert len(folds) == 3
    sessions.encode(STATES[3], POOLED[:1], POOLED[:2])  # another state is another user, or this one after an eviction
    assert len(folds) == 4


def test_a_vector_that_its_reader_changed_is_remembered_as_it_was(sessions):
    vector = sessions.encode(STATES[4], POOLED[:2], POOLED[:1])
    vector[:] = 7.0
    assert not np.array_equal(sessions.encode(STATES[4], POOLED[:2], POOLED[:1]), vector)


def test_a_machine_whose_small_folds_differ_folds_whole_tiles(tmp_path, monkeypatch):
    sessions = open_bundle(a_bundle(tmp_path / "bundle")).sessions
    assert sessions._rows == CHAIN
    fold = sessions._fold_tile
    monkeypatch.setattr(sessions, "_fold_tile", lambda states, pooled: fold(states, pooled) + len(states) % TILE)
    del sessions._rows  # as seen when the bundle was opened
    assert sessions._rows == TILE


def test_what_nobody_asked_for_the_longest_is_forgotten():
    remembered = Remembered(2)
    for key in (b"a", b"b"):
        remembered.put(key, STATES[0])
    assert remembered.get(b"a") is not None
    remembered.put(b"c", STATES[1])
    assert (remembered.get(b"b"), len(remembered)) == (None, 2)
    assert remembered.get(b"a") is not None
