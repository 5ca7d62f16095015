from rankstream.evaluation.replay.protocols import Draft, Logged, NextPositive, Slate, bits, exposures
from rankstream.features.sessions import SESSION_GAP_MS
from tests.builders.bundle import VOCABULARY
from tests.builders.replay import arrivals_of_rows

CODES = VOCABULARY.action_codes
SAVE = bits([CODES["save"]])
LATER = SESSION_GAP_MS + 1


def asked(protocol, rows):
    """Drive a protocol with all drafts taken; give its points."""
    for one in exposures(arrivals_of_rows(rows)):
        if protocol.begins(one):
            protocol.take(Draft(one))
    return list(protocol.ready())


def test_actions_of_one_moment_on_one_item_are_one_exposure():
    found = exposures(arrivals_of_rows([("u", 1, "view", 10**12), ("v", 1, "view", 10**12), ("u", 1, "save", 10**12)]))
    assert [(one.row, one.user_id, one.done) for one in found] == [
        (0, "u", bits([CODES["view"], CODES["save"]])),
        (1, "v", bits([CODES["view"]])),
    ]


def test_each_positive_is_a_point_and_views_are_none():
    rows = [("u", 1, "view", 10**12), ("u", 2, "save", 10**12 + 1), ("u", 3, "save", 10**12 + 2)]
    assert [point.target for point in asked(NextPositive(SAVE), rows)] == [2, 3]


def test_an_exposure_that_a_batch_cuts_in_two_is_asked_for_once():
    protocol = NextPositive(SAVE)
    first, second = ([("u", 1, "save", 10**12)], [("u", 1, "save", 10**12)])
    begun = [protocol.begins(one) for rows in (first, second) for one in exposures(arrivals_of_rows(rows))]
    assert begun == [True, False]


def test_a_visit_is_one_point_with_all_that_was_shown_and_what_was_done():
    rows = [("u", 1, "view", 10**12), ("u", 2, "view", 10**12 + 5), ("u", 2, "save", 10**12 + 9)]
    (point,) = asked(Logged(), [*rows, ("u", 3, "view", 10**12 + 9 + LATER), ("u", 4, "view", 10**12 + 10 + LATER)])[:1]
    assert list(point.candidates) == [1, 2]
    assert list(point.done) == [bits([CODES["view"]]), bits([CODES["view"], CODES["save"]])]
    assert point.draft.exposure.at_ms == 10**12


def test_a_gap_begins_another_visit_and_one_item_is_no_choice():
    rows = [("u", 1, "view", 10**12), ("u", 2, "view", 10**12 + LATER), ("u", 3, "view", 10**12 + LATER + 1)]
    assert [list(point.candidates) for point in asked(Logged(), rows)] == [[2, 3]]


def test_visits_are_given_while_the_log_goes_on():
    protocol = Logged()
    for one in exposures(arrivals_of_rows([("u", 1, "view", 10**12), ("u", 2, "view", 10**12 + 1)])):
        if protocol.begins(one):
            protocol.take(Draft(one))
    assert not list(protocol.ready(10**12 + LATER))
    assert len(list(protocol.ready(10**12 + 2 * LATER))) == 1
    assert not list(protocol.ready())


def test_a_slate_is_what_the_rest_of_the_visit_showed_in_vain():
    rows = [
        ("u", 1, "view", 10**12),  # before the positive: the state knows it
        ("u", 2, "save", 10**12 + 1),
        ("u", 3, "view", 10**12 + 2),
        ("u", 4, "save", 10**12 + 3),  # wanted too, so it is no miss to put it above
        ("u", 5, "view", 10**12 + 4),
    ]
    points = asked(Slate(SAVE), rows)
    assert [(point.target, list(point.candidates)) for point in points] == [(2, [2, 3, 5]), (4, [4, 5])]
    assert all(list(point.done) == [SAVE] + [0] * (len(point.candidates) - 1) for point in points)
