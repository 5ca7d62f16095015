"""Ways to ask by what a user liked: what each asks with, and what all queries find together."""

import numpy as np
import pytest

from rankstream.experiments.feed.task import Task
from rankstream.experiments.interests.__main__ import asked, found, written
from rankstream.experiments.interests.ways import LAST, Liked, ways
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.interests.interests import DAY_MS
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.retrieval.index.base import unit
from tests.builders.models import a_log

WAYS = dict(ways())
WORLDS = unit(np.array([[1, 0, 0, 0], [1, 0.1, 0, 0], [0, 1, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0]], np.float32))
LIKED = Liked(WORLDS[[4, 0, 1, 2, 3]], np.array([0, 1, 1, 30, 30]) * DAY_MS)  # of three worlds, newest first


def queries_of(name: str, seed: int = 0) -> list[list[float]]:
    return WAYS[name](LIKED, np.random.default_rng(seed))[0].round(3).tolist()


def test_each_way_asks_with_what_its_name_says():
    assert next(iter(WAYS)) == LAST
    assert queries_of(LAST) == [LIKED.units[0].round(3).tolist()]
    (mean,) = queries_of("mean of the last 20")
    (decayed,) = queries_of("decayed mean, 1 a day")
    assert decayed[2] > mean[2] > 0  # the newest is of the third world
    (medoid,) = queries_of("one cluster, its medoid")
    assert medoid in LIKED.units.round(3).tolist()


@pytest.mark.parametrize("name", [name for name in WAYS if name.startswith(("Ward", "k-means"))])
def test_interests_ask_with_items_that_were_liked_by_shares_of_their_importance(name):
    units, shares = WAYS[name](LIKED, np.random.default_rng(0))
    assert {tuple(one) for one in units.tolist()} <= {tuple(one) for one in LIKED.units.tolist()}
    assert len(units) == len(shares) <= 4
    assert (units[0] == LIKED.units[0]).all() or "last item" not in name


def test_ward_finds_the_worlds_and_the_newest_has_most_places():
    often = Liked(LIKED.units[[0] * 4 + [1] * 4 + [3] * 4], np.repeat([0, 1, 30], 4) * DAY_MS)
    units, shares = WAYS["Ward, 0.01 a day"](often, np.random.default_rng(0))
    of = dict(zip(units.argmax(axis=1).tolist(), shares.tolist(), strict=True))
    assert of.keys() == {0, 1, 2}
    assert of[2] > of[0] > of[1]


def test_queries_find_rows_by_their_shares_and_none_that_was_seen():
    rows = found(WORLDS, WORLDS[[0, 2]], np.array([3.0, 1.0], np.float32), np.array([0]))
    assert rows[:2] == [1, 2]
    assert sorted(rows) == [1, 2, 3, 4]


def test_who_liked_too_little_is_not_asked_and_the_table_is_paired():
    rows = [("u", item, "view", at) for at, item in enumerate("abab")] + [("v", "c", "view", 9)]
    later = [("u", "c", "view", 5_000), ("v", "a", "view", 5_001)]
    log = a_log([*rows, *later])
    task = Task(log, None, None, 1 << log.vocabulary.action_codes["view"])
    task.__dict__["cut_ms"] = int(log.times_ms[len(rows)])
    items = ItemTable(np.array(list("abc")), np.eye(3, dtype=np.float32))
    (one,) = asked(task, items, 9, 2, seed=0)
    assert (one.request.user_id, one.wanted, one.seen.tolist()) == ("u", 2, [0, 1])
    assert one.liked.units.argmax(axis=1).tolist() == [1, 0, 1, 0]
    text = written({"last item": [[2]], "another": [[1]]}, [one], 3)
    low, high = bootstrap_interval(np.array([-1.0]), ["u"], seed=0)
    assert (low, high) == (-1.0, -1.0)
    assert "-1.000 [-1.000, -1.000]" in text.splitlines()[-1]
    assert text.splitlines()[-1].rstrip(" |").endswith("0.333")
