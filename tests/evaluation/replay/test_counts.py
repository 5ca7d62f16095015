"""Item counts made anew while a log is replayed: as a nightly job would have made them, and no more."""

from dataclasses import replace
from functools import partial

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.bundles.item_counts import NotCountableError
from rankstream.evaluation.leakage import LeakError
from rankstream.evaluation.point_in_time import LiveRankerAsOf, no_table
from rankstream.evaluation.replay import counts as replay_counts
from rankstream.evaluation.replay.candidates import Catalogue, whole
from rankstream.evaluation.replay.counts import (
    BundlesOwn,
    CountedAnew,
    counts_by_default,
    published_counts,
)
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.protocols import NextPositive, bits
from rankstream.evaluation.replay.run import Plan, replay
from rankstream.evaluation.replay.variants import DelayedPipeline, Variant
from rankstream.events.kept_actions import KeptActions
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_keys
from rankstream.features.item_counts.files import publish_counts
from rankstream.models.items.item_counts import item_counts
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import ranker_of
from tests.builders.bundle import AS_OF_MS, VOCABULARY, a_bundle
from tests.builders.impressions import shown
from tests.builders.item_counts import a_following_bundle, a_recipe, log_of, the_same
from tests.builders.replay import ALog, arrivals_of_rows

MINUTE, HOUR, DAY_MS = 60_000, 3_600_000, 86_400_000
MIDNIGHT = 1_700_006_400_000  # the first one after the training's end, an hour and 46 minutes later
SAVE = bits([VOCABULARY.action_codes["save"]])


def after_item_1(item, start_ms, users):
    """Each user views item 1 and saves this one, a minute later; the next user comes two minutes later."""
    return [
        row
        for number, user in enumerate(users)
        for row in (
            (f"u{user}", 1, "view", start_ms + 2 * number * MINUTE),
            (f"u{user}", item, "save", start_ms + (2 * number + 1) * MINUTE),
        )
    ]


TRAINED = after_item_1(2, AS_OF_MS - 10 * HOUR, range(10))
EVENING = after_item_1(40, AS_OF_MS + MINUTE, range(100, 120))
MORNING = after_item_1(40, MIDNIGHT + MINUTE, range(200, 220))
ROWS = [*TRAINED, *EVENING, *MORNING]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(a_following_bundle(tmp_path_factory.mktemp("bundle"), TRAINED))


def past_of(rows):
    past = KeptActions(VOCABULARY)
    if rows:
        past.feed(arrivals_of_rows(rows))
    return past


def followers(counts, item=1):
    row = counts.matches.rows(id_keys([item]))[0][0]
    keys = counts.matches.keys[counts.matches.followers.of(row)].tolist()
    return dict(zip(keys, counts.matches.followers.weights_of(row).tolist(), strict=True))


def replayed(bundle, rows, choose, delay=0, log=ALog):
    """Replay with counts; return the reciprocal rank of each saved item, and the counts."""
    past = KeptActions(VOCABULARY)
    counts = choose(bundle, past)
    serving = LiveRankerAsOf(VOCABULARY, ranker_of(bundle, NoVectors(8)))
    variant = Variant("it", bundle, no_table, DelayedPipeline(serving, delay, 100), counts)
    catalogue = Catalogue([bundle.items])
    plan = Plan(
        protocol=partial(NextPositive, SAVE), select=whole(catalogue, exclude_seen=False), vocabulary=VOCABULARY,
        positives=SAVE, heads={"save": VOCABULARY.action_codes["save"]}, from_ms=AS_OF_MS, max_queries=None,
    )  # fmt: skip
    return replay(log(rows), [variant], plan).outcomes.variants["it"].column(ALL, "mrr"), counts


def test_counts_as_of_midnight_know_nothing_of_the_day_itself(bundle):
    counts = CountedAnew(bundle, past_of(ROWS), DAY_MS)
    for at_ms in (MIDNIGHT, MIDNIGHT + 20 * MINUTE, MIDNIGHT + 23 * HOUR):
        assert followers(counts.as_of(at_ms)) == {2: 10, 40: 20}
        assert counts.as_of(at_ms).as_of_ms == MIDNIGHT - 1
    assert followers(counts.as_of(MIDNIGHT + DAY_MS)) == {2: 10, 40: 40}


def test_until_the_first_boundary_after_the_training_the_bundles_own_serve(bundle):
    counts = CountedAnew(bundle, past_of(ROWS), DAY_MS)
    assert counts.as_of(MIDNIGHT - 1) is None
    hourly = CountedAnew(bundle, past_of(ROWS), HOUR)
    assert hourly.as_of(AS_OF_MS + 46 * MINUTE) is None  # 22:59 of 22:13
    assert followers(hourly.as_of(AS_OF_MS + 47 * MINUTE)) == {2: 10, 40: 20}


def test_what_arrived_after_the_boundary_was_not_counted_then(bundle):
    late = arrivals_of_rows(after_item_1(7, AS_OF_MS, range(300, 301)))
    past = past_of([*TRAINED, *EVENING])
    past.feed(type(late)(**{**vars(late), "arrived_ms": np.full(len(late), MIDNIGHT)}))
    counts = CountedAnew(bundle, past, DAY_MS)
    assert followers(counts.as_of(MIDNIGHT)) == {2: 10, 40: 20}
    assert followers(counts.as_of(MIDNIGHT + DAY_MS)) == {2: 10, 7: 1, 40: 20}


def test_by_default_a_replay_finds_what_follows_since_it_changed(bundle):
    never, _ = replayed(bundle, ROWS, lambda bundle, past: BundlesOwn(bundle))
    daily, counts = replayed(bundle, ROWS, counts_by_default)
    assert len(never) == len(daily) == 40
    assert max(never) < 1  # item 2 is ahead of all others, always
    assert daily[:20].tolist() == never[:20].tolist()  # in the evening nobody could know
    assert daily[20:].tolist() == [1] * 20
    assert counts.about() == "counted anew every 1d from what the log held before, 1 time"


def test_a_variant_that_is_a_day_late_has_the_counts_of_a_day_ago(bundle):
    tomorrow = after_item_1(40, MIDNIGHT + DAY_MS + MINUTE, range(400, 405))
    for delay, counted_at in ((0, {MIDNIGHT, MIDNIGHT + DAY_MS}), (DAY_MS, {MIDNIGHT})):
        _, counts = replayed(bundle, [*ROWS, *tomorrow], counts_by_default, delay)
        assert counts.counted_at == counted_at


def test_only_what_a_query_asks_for_is_counted(bundle):
    days = [row for day in range(3) for row in after_item_1(40, MIDNIGHT + day * DAY_MS, range(5))]
    week = [*TRAINED, *days, ("x", 3, "save", MIDNIGHT + 7 * DAY_MS)]
    _, counts = replayed(bundle, week, counts_by_default)
    assert counts.counted_at == {MIDNIGHT + day * DAY_MS for day in (0, 1, 2, 7)}


def test_counts_are_made_once_however_queries_alternate_around_a_boundary(bundle, monkeypatch):
    made = []
    monkeypatch.setattr(replay_counts, "item_counts", lambda *given: made.append(given[-1]) or item_counts(*given))
    counts = CountedAnew(bundle, past_of(ROWS), DAY_MS)
    for _ in range(3):
        for day in range(3):
            assert counts.as_of(MIDNIGHT + day * DAY_MS + MINUTE).as_of_ms == MIDNIGHT + day * DAY_MS - 1
    assert made[1:] == [MIDNIGHT + day * DAY_MS - 1 for day in range(3)]  # the first one is of nothing, a trial


def test_a_bundle_that_does_not_say_how_serves_its_own_counts(bundle, tmp_path):
    silent = open_bundle(a_following_bundle(tmp_path / "silent", TRAINED, says_how=False))
    found, counts = replayed(silent, ROWS, counts_by_default)
    assert max(found) < 1
    assert "does not say how its item counts were made" in counts.about()
    with pytest.raises(NotCountableError, match="train it again"):
        CountedAnew(open_bundle(a_bundle(tmp_path / "tiny")), past_of(ROWS), DAY_MS)


def test_a_log_that_is_a_part_of_the_trainings_is_not_counted_by_default(tmp_path):
    long = [row for day in range(9) for row in after_item_1(2, AS_OF_MS - (9 - day) * DAY_MS, range(10))]
    bundle = open_bundle(a_following_bundle(tmp_path, long))
    found, counts = replayed(bundle, [*EVENING, *MORNING], counts_by_default)
    assert max(found) < 1
    assert "the log holds 80 actions" in counts.about()
    told, _ = replayed(bundle, [*EVENING, *MORNING], lambda bundle, past: CountedAnew(bundle, past, DAY_MS))
    assert told[20:].tolist() == [1] * 20


def test_published_versions_serve_from_their_time_on_and_none_of_the_future(bundle, tmp_path):
    table = ItemTable(np.arange(1, 41), np.zeros((40, 0), np.float32))
    for at_ms in (AS_OF_MS, MIDNIGHT + 10 * MINUTE):
        publish_counts(tmp_path, item_counts(log_of(ROWS), table, a_recipe(), at_ms), keep=9)
    counts, marks = published_counts(tmp_path, bundle, AS_OF_MS, allow_leak=False)
    assert (followers(counts.as_of(MIDNIGHT)), marks) == ({2: 10}, [])
    assert followers(counts.as_of(MIDNIGHT + 10 * MINUTE))[40] == 25
    with pytest.raises(LeakError, match=r"the counts of the items in .* hold events until 2023-11-14 22:13:20"):
        published_counts(tmp_path, bundle, AS_OF_MS - 1, allow_leak=False)
    allowed, marks = published_counts(tmp_path, bundle, AS_OF_MS - 1, allow_leak=True)
    assert followers(allowed.as_of(AS_OF_MS - 1)) == {2: 10}
    assert marks[0].startswith("LEAK")


def test_what_an_erased_user_did_is_not_counted_from_then_on(bundle):
    until, known = AS_OF_MS + 10 * MINUTE, MIDNIGHT + MINUTE  # the first five of the evening, erased after midnight
    erased = [(f"u{user}", "", "forget", until) for user in range(100, 120)]
    past = past_of([*TRAINED, *EVENING])
    rows = next(ALog(erased, 20).batches(VOCABULARY, erasures=True))
    past.feed(type(rows)(**{**vars(rows), "arrived_ms": np.full(len(rows), known)}))
    counts = CountedAnew(bundle, past, DAY_MS)
    assert followers(counts.as_of(MIDNIGHT)) == {2: 10, 40: 20}
    assert followers(counts.as_of(MIDNIGHT + DAY_MS)) == {2: 10, 40: 15}


def test_items_are_counted_as_often_as_they_were_for_the_ranker_midnights_if_the_bundle_does_not_say(bundle):
    facts = next(part.facts for part in bundle.manifest.parts if part.kind == "item_features")
    assert facts["counted_every_ms"] == DAY_MS
    for told, every_ms in ({"counted_every_ms": HOUR}, HOUR), ({}, DAY_MS):
        others = {name: value for name, value in facts.items() if name not in ("counted_every_ms", "newcomers")}
        parts = [
            msgspec.structs.replace(part, facts=others | told) if part.kind == "item_features" else part
            for part in bundle.manifest.parts
        ]
        one = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, parts=tuple(parts)))
        assert counts_by_default(one, past_of(TRAINED)).every_ms == every_ms


def test_a_replay_counts_an_erased_user_no_more(bundle):
    erased = [(f"u{user}", "", "forget", MIDNIGHT - MINUTE) for user in range(100, 120)]
    anew, _ = replayed(bundle, [*TRAINED, *EVENING, *erased, *MORNING], counts_by_default)
    assert max(anew[20:]) < 1  # at midnight nothing of the evening was left


def test_what_was_shown_is_counted_as_training_counts_it_and_never_without_its_actions():
    lists = shown(("a", 2, 0.5), ("a", 3, 0.5), ("b", 3, 9), ("b", 2, 9), ("a", 3, 90), ("a", 2, 90))
    rows = [("a", 1, "view", AS_OF_MS), ("a", 2, "save", AS_OF_MS + MINUTE), ("b", 3, "save", AS_OF_MS + 10 * MINUTE)]
    names = (*a_recipe().feature_names, "log_exposures", "log_yesterday", "rate_save")
    recipe = replace(a_recipe(), rates={"save": ("save",)}, lists=True, feature_names=names)
    past, log = KeptActions(VOCABULARY, lists), replace(log_of(rows), impressions=lists)
    past.feed(arrivals_of_rows(rows))
    at_ms = AS_OF_MS + HOUR
    anew, trained = (item_counts(one, ITEMS, recipe, at_ms - 1) for one in (past.before(at_ms), log.split_at(at_ms)[0]))
    assert the_same(anew, trained)
    assert len(past.before(at_ms).impressions) == 2
    few = ItemTable(np.array([1, 2]), np.zeros((2, 0), np.float32))  # 3 came later, by its key alone in what is kept
    recipe = replace(recipe, newcomers=True)
    anew, trained = (item_counts(one, few, recipe, at_ms - 1) for one in (past.before(at_ms), log.split_at(at_ms)[0]))
    assert the_same(anew, trained)
    assert len(anew.item_features) == 3
    short = KeptActions(VOCABULARY, lists, most=1)
    short.feed(arrivals_of_rows(rows))
    assert len(short.before(at_ms).impressions) == 0  # one action is kept, and no list was shown since


ITEMS = ItemTable(np.array([1, 2, 3, 4, 40]), np.zeros((5, 0), np.float32))
LOGS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", 7]), st.sampled_from([1, 2, 3, 4, "new"]), st.sampled_from(VOCABULARY.actions),
        st.integers(0, 8),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=40)
@given(LOGS, st.integers(0, 9), st.integers(1, 7))
def test_counting_anew_is_training_on_the_log_cut_there(rows, cut, batch):
    """To the byte, also where much happened at one time."""
    rows = sorted(
        ((user, item, kind, AS_OF_MS + 10 * at * MINUTE) for user, item, kind, at in rows), key=lambda r: r[3]
    )
    at_ms, past = AS_OF_MS + 10 * cut * MINUTE, KeptActions(VOCABULARY)
    for start in range(0, len(rows), batch):
        past.feed(arrivals_of_rows(rows[start : start + batch]))
    before, _ = log_of(rows).split_at(at_ms)
    anew, trained = (item_counts(log, ITEMS, a_recipe(), at_ms - 1) for log in (past.before(at_ms), before))
    assert the_same(anew, trained)
