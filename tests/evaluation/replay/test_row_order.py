"""A file's order of rows of one time says nothing, so no protocol's result depends on it: not on what is known, asked,
sampled or ranked."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.evaluation.replay.candidates import Catalogue, as_shown, sampled, whole
from rankstream.evaluation.replay.protocols import LoggedSession, NextPositive, PositiveInSession
from rankstream.evaluation.replay.run import Plan, replay
from rankstream.evaluation.replay.variants import NEVER, ReplayError
from rankstream.ranking.bundle import open_bundle
from tests.builders.bundle import VOCABULARY, a_bundle
from tests.builders.replay import ALog
from tests.evaluation.replay.test_run import CODES, POSITIVES, START, a_variant

PROTOCOLS = ("logged", "slate", "catalogue", "unseen", "sampled")
SECOND = 1000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(a_bundle(tmp_path_factory.mktemp("bundle")))


def a_plan(bundle, protocol, max_queries):
    catalogue = Catalogue([bundle.items])
    select = {
        "catalogue": whole(catalogue, exclude_seen=False),
        "unseen": whole(catalogue, exclude_seen=True),
        "sampled": sampled(catalogue, 10, 1),
    }
    make = {"logged": LoggedSession, "slate": partial(PositiveInSession, POSITIVES)}
    return Plan(
        protocol=make.get(protocol, partial(NextPositive, POSITIVES)),
        select=select.get(protocol, as_shown(1)),
        vocabulary=VOCABULARY,
        positives=POSITIVES,
        heads={head: CODES[head] for head in bundle.manifest.heads},
        from_ms=START,
        max_queries=max_queries,
        shown=protocol == "logged",
        unseen_only=protocol == "unseen",
        catalogue=catalogue,
    )


def result_of(bundle, rows, protocol, max_queries=None, batch=1000):
    """Return all that a report is made of."""
    variants = [a_variant(bundle), a_variant(bundle, "late", 5 * SECOND), a_variant(bundle, "never", NEVER)]
    try:
        result = replay(ALog(rows, batch), variants, a_plan(bundle, protocol, max_queries))
    except ReplayError:
        return "nothing to rank"
    ranked = [(query.user, query.at_ms, query.num_actions) for query in result.outcomes.queries]
    return ranked, {name: repr(variant) for name, variant in result.outcomes.variants.items()}


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w"]),
        st.integers(1, 12),
        st.sampled_from(VOCABULARY.actions),
        st.integers(0, 6).map(lambda at: START + at * SECOND + at // 4 * 3_600_000),
    ),
    min_size=4,
    max_size=30,
)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=12)
@given(rows=ROWS, rng=st.randoms(use_true_random=False), count=st.sampled_from([None, 2]), batch=st.integers(1, 40))
def test_rows_of_one_time_may_stand_in_any_order(bundle, protocol, rows, rng, count, batch):
    rows = sorted(rows, key=lambda row: row[3])
    shuffled = list(rows)
    rng.shuffle(shuffled)
    shuffled.sort(key=lambda row: row[3])
    assert result_of(bundle, rows, protocol, count) == result_of(bundle, shuffled, protocol, count, batch)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_log_in_seconds_reversed_within_each_second_gives_the_same_report(bundle, protocol):
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", int(rng.integers(1, 190)), ("view", "view", "click", "save")[int(rng.integers(4))], at_ms)
        for at_ms in range(START, START + 20 * 60_000, 60_000)
        for user in range(3)
        for _ in range(4)
    ]
    reversed_rows = sorted(rows[::-1], key=lambda row: row[3])
    assert rows != reversed_rows
    assert result_of(bundle, rows, protocol) == result_of(bundle, reversed_rows, protocol)


def test_nothing_of_one_time_is_known_before_the_rest_of_it(bundle):
    rows = [("u", 1, "view", START), *(("u", item, "save", START + SECOND) for item in range(2, 12))]
    for order in (rows, rows[:1] + rows[:0:-1]):
        ranked, _ = result_of(bundle, order, "catalogue")
        assert ranked == [("u", START + SECOND, 1)] * 10
