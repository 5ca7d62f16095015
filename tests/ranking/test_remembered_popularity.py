"""What is remembered is what a look-up says, whatever is asked in which order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.ids import Keys, id_keys
from rankstream.ranking.blend import first_positions
from rankstream.ranking.remembered_popularity import RememberedPopularity

IDS = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 12).map(str), st.sampled_from(["hat", "07"])), min_size=1)


class ATable:
    """Says of a key what only depends on it, and counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, keys: Keys):
        self.asked += keys.tolist()
        return (keys % np.uint64(7)).astype(np.float64) / 7, keys % np.uint64(3) > 0


@settings(max_examples=40)
@given(st.lists(IDS, max_size=5), st.integers(1, 30))
def test_what_is_remembered_is_what_the_look_up_says(requests, max_ids):
    table, remembered = ATable(), RememberedPopularity(ATable(), max_ids)
    for ids in requests:
        standing, (scores, known) = remembered.standing(ids), table(id_keys(ids))
        assert (standing.scores.tolist(), standing.known.tolist()) == (scores.tolist(), known.tolist())
        items = standing.items(range(len(ids)))
        assert [(item.item_id, item.score, item.probabilities) for item in items] == [
            (one, score, {}) for one, score in zip(ids, scores.tolist(), strict=True)
        ]


@settings(max_examples=40)
@given(IDS)
def test_an_item_that_comes_twice_is_found_by_its_key(ids):
    firsts = RememberedPopularity(ATable()).standing(ids).firsts()
    wanted = first_positions(id_keys(ids)).tolist()
    assert (list(range(len(ids))) if firsts is None else firsts.tolist()) == wanted


def test_an_id_is_looked_up_once_until_there_are_too_many():
    table = ATable()
    remembered = RememberedPopularity(table, max_ids=3)
    for ids in ([1, 2], [2, 1], [2, "3"], [2]):
        remembered.standing(ids)
    assert table.asked == [1, 2, 3]
    remembered.standing([4])
    remembered.standing([1])
    assert table.asked == [1, 2, 3, 4, 1]
