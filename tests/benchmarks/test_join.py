"""A guard by ratio, not by time: both joins in turns in one process, so a busy machine slows both."""

from statistics import median

import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install 'rankstream[fast]'")

from benchmarks.join import times_of
from rankstream.features.compiled.join import compiled_join
from rankstream.features.ids import id_keys
from rankstream.features.join import join, match_user
from tests.builders.join_world import ITEMS, a_user, everything


def test_the_compiled_join_takes_at_most_two_thirds_of_the_plain_ones_time():
    """It was 0.30 when this was written; what comes near 1 joins the plain way."""
    state, now_ms = a_user([(at % 50, "click", 60) for at in range(60)])
    offline, candidates = everything(), id_keys(list(range(ITEMS)))
    matches = lambda: match_user(state, 1, now_ms, offline)  # noqa: E731
    steps = {
        "plain": lambda: join(matches(), candidates, offline),
        "compiled": lambda: compiled_join(matches(), candidates, offline),
    }
    found = times_of(steps, rounds=40)
    ratio = median(found["compiled"]) / median(found["plain"])
    assert ratio <= 2 / 3, f"{ratio:.2f} of the plain one's time"
