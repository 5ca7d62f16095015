"""What the ranker is trained on: requests as serving would have answered them."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.events.registry import EVENTS
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_key
from rankstream.features.join import HOUR_MS
from rankstream.features.matches.columns import MATCH_NAMES
from rankstream.models.items.fold_in import folded_in
from rankstream.models.items.item_counts import counted, with_newcomers
from rankstream.models.ranker import training_join
from rankstream.models.ranker.examples import inputs_of
from rankstream.models.ranker.training_join import (
    as_of_its_day,
    counting_interval_ms,
    counting_times,
    feature_sizes,
    matching_times,
    offline_features,
    share_of_new,
    to_float16,
)
from rankstream.models.recipes.bundle import recipe_for
from rankstream.models.recipes.encoders import TrainedEncoders
from rankstream.models.recipes.ranker_requests import requests_as_of_their_days, requests_of
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.training.loop import FitHistory
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig
from tests.builders.impressions import shown
from tests.builders.models import DAY_MS, START_MS, a_log

MIDNIGHT = 107  # minutes after the start, from which on it is the next day
DAYS, USERS = 5, 2


ROWS_OF_STEPS = [
    (f"u{day}{user}", item, "save", MIDNIGHT + 24 * 60 * day + 30 + user + step)
    for day in range(DAYS)
    for user in range(USERS)
    for step, item in enumerate(("a", "b"))
] + [(f"z{day}", "c", "save", MIDNIGHT + 24 * 60 * day + 600) for day in range(DAYS)]


def a_log_of_steps():
    """Each day two new users go on from a to b, a minute later."""
    return a_log(ROWS_OF_STEPS)


def steps_after_two_days():
    """The log of steps, its third day's midnight, and what was learned until then: recipe, encoders, tables."""
    log = a_log_of_steps()
    first_day = (START_MS // DAY_MS + 2) * DAY_MS
    recipe = recipe_for(replace(EVENTS, repeats=True), log.vocabulary)
    encoders = encoders_of(log.split_at(first_day)[0], recipe)
    offline = offline_features(log, encoders, feature_sizes(log.vocabulary, encoders, 4), first_day)
    return log, first_day, recipe, encoders, offline


def encoders_of(log, recipe) -> TrainedEncoders:
    items = ItemTable(np.array(["a", "b", "c"], object), np.eye(3, 8, dtype=np.float32))
    found = counted(log, items, recipe.encoders.matched)
    users = PinnerFormer(PinnerFormerConfig(3, 2, num_actions=4, item_dim=8, user_dim=8, hidden=8, layers=1, heads=1))
    sessions = HierTCN(HierTCNConfig(item_dim=8, hidden=8, layer_state=8, channels=(8,)))
    histories = FitHistory(), FitHistory()
    return TrainedEncoders(
        items, found.features, found.feature_names, found.matches, users.eval(), sessions.eval(), *histories
    )


def test_requests_see_what_was_counted_by_the_midnight_before_them_and_nothing_of_their_own_day():
    log = a_log_of_steps()
    first_day = (START_MS // DAY_MS + 2) * DAY_MS  # the second day of the log
    recipe = recipe_for(replace(EVENTS, repeats=True), log.vocabulary)
    recipe = replace(recipe, ranker=replace(recipe.ranker, strangers=0.0))
    encoders = encoders_of(log.split_at(first_day)[0], recipe)
    offline = offline_features(log, encoders, feature_sizes(log.vocabulary, encoders, 4), first_day)
    column = offline.sizes.item_features + MATCH_NAMES.index("next_count")
    requests = requests_as_of_their_days(log, encoders, recipe, offline, first_day)
    learned, validated = requests.learned, requests.validated
    assert len(learned) + len(validated) == (DAYS - 1) * (2 * USERS + 1)
    steps = []
    for one in (*learned.requests, *validated.requests):
        if one.candidates[0] == id_key("b"):
            steps.append(float(one.inputs.candidate_features[0, column]))
    # by the midnight before day 2 two users had gone on from a to b, by that before day 3 four, and so on
    wanted = [np.log1p(USERS * day) for day in range(1, DAYS) for _ in range(USERS)]
    assert steps == pytest.approx(wanted, rel=1e-5)


def test_item_counts_are_of_each_midnight_also_where_match_tables_are_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_join, "FEWEST_COUNTS", 1)
    monkeypatch.setattr(training_join, "MOST_MATCHED", 1)
    log, first_day, recipe, encoders, offline = steps_after_two_days()
    steps_at = offline.sizes.item_features + MATCH_NAMES.index("next_count")
    requests = requests_as_of_their_days(log, encoders, recipe, offline, first_day)
    every = (*requests.learned.requests, *requests.validated.requests)
    counts = {float(one.inputs.candidate_features[0, 0]) for one in every if one.candidates[0] == id_key("c")}
    steps = {
        float(one.inputs.candidate_features[0, steps_at])
        for one in every
        if one.candidates[0] == id_key("b") and len(one.actions)
    }
    of_b = 2 * np.arange(1, DAYS)  # by each midnight; c has half as many
    assert sorted(counts) == pytest.approx(np.log1p(of_b / 2) / np.log1p(of_b), abs=1e-3)
    assert len(steps) == 1, "match tables are those of the encoders' part"


def test_some_requests_are_learned_from_once_more_without_their_actions_and_none_validates_so():
    log, first_day, recipe, encoders, offline = steps_after_two_days()
    found = {}
    for share in (0.0, 0.5):
        asked = replace(recipe, ranker=replace(recipe.ranker, strangers=share))
        found[share] = requests_as_of_their_days(log, encoders, asked, offline, first_day)
    plain, more = found[0.0].learned, found[0.5].learned
    assert len(more) == len(plain) + round(len(plain) / 2)
    actions = [sum(len(one.actions) == 0 for one in some.requests) for some in (plain, more)]
    assert actions[1] == actions[0] + round(len(plain) / 2)
    assert [len(one.actions) for one in found[0.5].validated.requests] == [
        len(one.actions) for one in found[0.0].validated.requests
    ]


def test_what_is_held_out_begins_behind_all_that_is_learned_from_and_nothing_is_where_tables_know_it():
    log, first_day, recipe, encoders, offline = steps_after_two_days()
    requests = requests_as_of_their_days(log, encoders, recipe, offline, first_day)
    late_ms = np.sort(log.times_ms[log.times_ms >= first_day])  # each action is a request
    assert requests.held_out_ms == late_ms[len(late_ms) - len(requests.validated) - 1] + 1
    assert requests_as_of_their_days(log, encoders, recipe, offline, 0).held_out_ms is None


def test_items_are_counted_at_the_midnight_before_each_request_and_at_fewer_of_a_large_log():
    morning = 100 * DAY_MS + 5
    asked = np.array([morning, morning + 7, 102 * DAY_MS + 9, 105 * DAY_MS, 105 * DAY_MS + 1])
    assert counting_times(morning, asked, 1_000) == [morning, 102 * DAY_MS, 105 * DAY_MS]
    assert counting_times(morning, asked[:2], 1_000) == [morning]
    of_a_year = morning + DAY_MS * np.arange(300)
    assert len(counting_times(morning, of_a_year, 85_000)) == 300
    assert len(counting_times(morning, morning + DAY_MS * np.arange(1_000), 85_000)) == 336
    of_large = counting_times(morning, of_a_year, 1_000_000)
    assert len(of_large) == 100
    assert (of_large[1], of_large[-1]) == (101 * DAY_MS, 399 * DAY_MS)
    assert len(counting_times(morning, of_a_year, 100_000_000)) == 4


def test_match_tables_are_made_at_fewer_midnights_than_items_are_counted():
    midnights = [DAY_MS * day for day in range(100, 400)]
    assert matching_times(midnights[:9], 1_000) == midnights[:9]
    of_a_year = matching_times(midnights, 1_000)
    assert len(of_a_year) == 12
    assert (of_a_year[0], of_a_year[1], of_a_year[-1]) == (midnights[0], midnights[1], midnights[-1])
    assert len(matching_times(midnights, 500_000)) == 6
    assert len(matching_times(midnights, 100_000_000)) == 4
    hours = [HOUR_MS * hour for hour in range(300)]
    assert matching_times(hours, 1_000, HOUR_MS) == hours


def test_items_are_counted_hourly_of_a_log_whose_items_come_and_go():
    def of(*lists):
        return replace(a_log_of_steps(), impressions=shown(*lists))

    hours = [60 * hour for hour in range(1, 100)]
    news = of(*((f"u{at}", f"n{at // 300}", at) for at in hours))  # a story is shown for five hours
    shop = of(*((f"u{at}", f"i{at // 60 % 9}", at) for at in hours))
    assert share_of_new(news) == 1.0
    assert counting_interval_ms(news) == HOUR_MS
    assert share_of_new(shop) == pytest.approx(0.04)  # all came on the first day, a few less than a day before
    assert counting_interval_ms(shop) == DAY_MS
    first_day = of(*((f"u{at}", f"n{at}", at) for at in hours[:20]))
    assert (share_of_new(first_day), counting_interval_ms(first_day)) == (0.0, DAY_MS)
    assert counting_interval_ms(a_log_of_steps()) == DAY_MS
    acted_on_before = of(*((f"u{at}", "ab"[at // 60 % 2], at) for at in hours))
    assert share_of_new(acted_on_before) < share_of_new(news)
    morning = 100 * DAY_MS + 5
    asked = np.array([morning, 100 * DAY_MS + HOUR_MS, 100 * DAY_MS + 3 * HOUR_MS - 1])
    assert counting_times(morning, asked, 1_000, HOUR_MS) == [
        morning, 100 * DAY_MS + HOUR_MS, 100 * DAY_MS + 2 * HOUR_MS,
    ]  # fmt: skip
    of_a_year = morning + HOUR_MS * np.arange(24 * 365)
    assert len(counting_times(morning, of_a_year, 1_000, HOUR_MS)) == 336
    assert len(counting_times(morning, of_a_year, 1_000_000, HOUR_MS)) == 40


def test_what_came_after_the_encoders_part_is_joined_by_vectors_and_counts_as_they_serve():
    """Of news nearly all that is shown comes later: a ranker that met none of it ordered lists at random."""
    evening = MIDNIGHT + 24 * 60 + 20 * 60
    rows = [(f"w{n}", item, "save", evening + 3 * n + at) for n in range(9) for at, item in enumerate(("a", "n"))]
    next_day = evening + 24 * 60
    rows += [(f"v{n}", "n", "save", next_day + 5 * n + 1) for n in range(9)]
    log = a_log(sorted([*ROWS_OF_STEPS, *rows], key=lambda row: row[3]))
    log = replace(log, impressions=shown(*((f"v{n}", item, next_day + 5 * n) for n in range(9) for item in "anm")))
    first_day = (START_MS // DAY_MS + 2) * DAY_MS  # before anybody had met n or m
    recipe = recipe_for(replace(EVENTS, repeats=True, exposures=True), log.vocabulary)
    recipe = replace(recipe, ranker=replace(recipe.ranker, strangers=0.0))
    encoders = encoders_of(log.split_at(first_day)[0], recipe)
    offline = offline_features(log, encoders, feature_sizes(log.vocabulary, encoders, 4), first_day)
    found = requests_as_of_their_days(log, encoders, recipe, offline, first_day)

    examples = requests_of(log, recipe.ranker, offline, np.random.default_rng(0), first_day)
    past = log.split_at(min(one.now_ms for one in examples) // DAY_MS * DAY_MS)[0]
    items = folded_in(encoders.item_table, past)
    counts = counted(past, with_newcomers(items, past), recipe.encoders.matched, recipe.encoders.rates)
    features = to_float16(replace(with_newcomers(items, past), vectors=counts.features))
    serving = replace(offline, items=to_float16(items), item_features=features, matches=counts.matches)
    asked = [as_of_its_day(one) for one in examples]
    wanted = {one.user_key: inputs_of(one, serving) for one in asked}
    assert len(wanted) == len(found.learned) + len(found.validated) == 9
    for some in (found.learned, found.validated):
        for at, one in enumerate(some.requests):
            joined, served = some.inputs(at), wanted[one.user_key]
            np.testing.assert_array_equal(joined.candidate_items, served.candidate_items)
            np.testing.assert_array_equal(joined.candidate_features, served.candidate_features)
            by_key = dict(zip(one.candidates.tolist(), joined.candidate_items, strict=True))
            assert by_key[id_key("n")].any(), "it lies where a does"
            assert not by_key[id_key("m")].any(), "nobody acted on it yet"


def test_beside_some_shown_lists_items_are_drawn_that_weigh_nothing_in_the_heads_and_none_beside_those_that_validate():
    first_day = (START_MS // DAY_MS + 2) * DAY_MS
    minutes = [MIDNIGHT + 24 * 60 * day + 29 for day in range(1, DAYS)]
    lists = [row for at in minutes for row in ((f"u{at // (24 * 60)}0", "a", at), (f"u{at // (24 * 60)}0", "b", at))]
    log = replace(a_log_of_steps(), impressions=shown(*lists))
    recipe = recipe_for(replace(EVENTS, repeats=True, exposures=True), log.vocabulary)
    found = {}
    for most in (0, 100):
        asked = replace(recipe, ranker=replace(recipe.ranker, strangers=0.0, beside_lists=most))
        encoders = encoders_of(log.split_at(first_day)[0], asked)
        offline = offline_features(log, encoders, feature_sizes(log.vocabulary, encoders, 4), first_day)
        found[most] = requests_as_of_their_days(log, encoders, asked, offline, first_day)
    alone, beside = found[0], found[100]
    assert [len(one.candidates) for one in beside.learned.requests] == [3, 3, 3]  # a and b were shown, c was drawn
    for one in beside.learned.requests:
        assert one.weights.tolist() == [1, 1, 0]
        assert not one.labels[2].any()
        assert one.log_q[:2].tolist() == [0, 0]
    assert [len(one.candidates) for one in (*alone.learned.requests, *beside.validated.requests)] == [2] * 4
    assert (len(alone.retrieved), [len(one.candidates) for one in beside.retrieved.requests]) == (0, [3])
