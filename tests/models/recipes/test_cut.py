"""Where a log is cut into the encoders' part and the ranker's requests."""

from dataclasses import replace

from rankstream.events.registry import EVENTS
from rankstream.models.recipes.bundle import recipe_for
from rankstream.models.recipes.cut import EARLIER, UNCUT, check_learnable, cut_between, note_on_cut
from tests.builders.impressions import shown
from tests.builders.models import a_log

STEADY = [(f"u{at % 20}", f"i{at % 7}", "save", at) for at in range(1_000)]
IMPORT = [(f"u{at % 2}", f"new{at}", "save", 1_000 + at // 100) for at in range(600)]  # a hundred at a time


def recipe_of(log):
    return recipe_for(replace(EVENTS, positives=("save",)), log.vocabulary)


def test_a_steady_log_is_cut_where_the_recipe_says():
    log = a_log(STEADY)
    assert cut_between(log, recipe_of(log)) == log.time_at(0.85)
    assert note_on_cut(log, recipe_of(log), log.time_at(0.85)) is None
    assert note_on_cut(log, recipe_of(log), None) == UNCUT


def test_a_log_that_ends_with_an_import_of_what_is_new_leaves_the_ranker_requests_of_before_it():
    log = a_log(STEADY + IMPORT)
    since_ms = cut_between(log, recipe_of(log))
    assert since_ms < log.time_at(0.85)
    before, later = log.split_at(since_ms)
    known = set(before.item_ids.tolist())
    assert sum(item in known for item in later.item_ids.tolist()) > 100
    check_learnable(before, recipe_of(log).encoders)
    assert note_on_cut(log, recipe_of(log), since_ms) == EARLIER


def test_a_log_whose_items_are_new_all_the_time_is_not_cut_earlier_for_nothing():
    log = a_log([(f"u{at % 20}", f"i{(at + 1) // 2}", "save", at) for at in range(1_000)])
    assert cut_between(log, recipe_of(log)) == log.time_at(0.85)


def test_a_log_of_lists_is_cut_where_the_recipe_says():
    log = a_log([*STEADY, *IMPORT, ("u1", "i1", "save", 1_011)])
    log = replace(log, impressions=shown(("u1", "i1", 1_500), ("u1", "i2", 1_500)))
    assert cut_between(log, recipe_of(log)) == log.time_at(0.85)
