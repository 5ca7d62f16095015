from rankstream.evaluation.replay.exposures import exposures
from rankstream.evaluation.replay.protocols import LoggedSession, NextPositive, PositiveInSession, Query, bits
from rankstream.features.sessions import SESSION_GAP_MS
from tests.builders.bundle import VOCABULARY
from tests.builders.replay import arrivals_of_rows

CODES = VOCABULARY.action_codes
SAVE = bits([CODES["save"]])
LATER = SESSION_GAP_MS + 1


def queries_of(protocol, rows):
    """Drive a protocol, adding every query that it starts."""
    drive(protocol, rows)
    return list(protocol.complete())


def drive(protocol, rows):
    for one in exposures(arrivals_of_rows(rows)):
        if protocol.starts_query(one):
            protocol.add(Query(one))


def test_actions_of_one_time_on_one_item_are_one_exposure():
    found = exposures(arrivals_of_rows([("u", 1, "view", 10**12), ("v", 1, "view", 10**12), ("u", 1, "save", 10**12)]))
    assert [(one.row, one.user_id, one.actions) for one in found] == [
        (0, "u", bits([CODES["view"], CODES["save"]])),
        (1, "v", bits([CODES["view"]])),
    ]


def test_each_positive_is_a_query_and_views_are_none():
    rows = [("u", 1, "view", 10**12), ("u", 2, "save", 10**12 + 1), ("u", 3, "save", 10**12 + 2)]
    assert [query.target for query in queries_of(NextPositive(SAVE), rows)] == [2, 3]


def test_an_exposure_that_a_batch_cuts_in_two_starts_one_query():
    protocol = NextPositive(SAVE)
    first, second = ([("u", 1, "save", 10**12)], [("u", 1, "save", 10**12)])
    started = [protocol.starts_query(one) for rows in (first, second) for one in exposures(arrivals_of_rows(rows))]
    assert started == [True, False]


def test_a_session_is_one_query_with_all_that_was_shown_and_the_actions_on_it():
    rows = [("u", 1, "view", 10**12), ("u", 2, "view", 10**12 + 5), ("u", 2, "save", 10**12 + 9)]
    (query,) = queries_of(
        LoggedSession(), [*rows, ("u", 3, "view", 10**12 + 9 + LATER), ("u", 4, "view", 10**12 + 10 + LATER)]
    )[:1]
    assert list(query.candidates) == [1, 2]
    assert list(query.actions) == [bits([CODES["view"]]), bits([CODES["view"], CODES["save"]])]
    assert query.exposure.at_ms == 10**12


def test_a_gap_begins_another_session_and_one_item_is_no_choice():
    rows = [("u", 1, "view", 10**12), ("u", 2, "view", 10**12 + LATER), ("u", 3, "view", 10**12 + LATER + 1)]
    assert [list(query.candidates) for query in queries_of(LoggedSession(), rows)] == [[2, 3]]


def test_sessions_are_ranked_while_the_log_goes_on():
    protocol = LoggedSession()
    drive(protocol, [("u", 1, "view", 10**12), ("u", 2, "view", 10**12 + 1)])
    assert not list(protocol.complete(10**12 + LATER))
    assert len(list(protocol.complete(10**12 + 2 * LATER))) == 1
    assert not list(protocol.complete())


def test_a_positive_is_ranked_among_the_negatives_of_the_rest_of_its_session():
    rows = [
        ("u", 1, "view", 10**12),  # before the positive: the state knows it
        ("u", 2, "save", 10**12 + 1),
        ("u", 3, "view", 10**12 + 2),
        ("u", 4, "save", 10**12 + 3),  # positive too, so it is no miss to rank it above
        ("u", 5, "view", 10**12 + 4),
    ]
    queries = queries_of(PositiveInSession(SAVE), rows)
    assert [(query.target, list(query.candidates)) for query in queries] == [(2, [2, 3, 5]), (4, [4, 5])]
    assert all(list(query.actions) == [SAVE] + [0] * (len(query.candidates) - 1) for query in queries)


def test_what_was_shown_at_the_positives_own_time_is_ranked_with_it_whatever_the_order_of_rows():
    rows = [("u", 1, "view", 10**12 - 5), *(("u", item, "view", 10**12) for item in (2, 3)), ("u", 4, "save", 10**12)]
    for order in (rows, rows[::-1]):
        (query,) = queries_of(PositiveInSession(SAVE), sorted(order, key=lambda row: row[3]))
        assert (query.target, sorted(query.candidates)) == (4, [2, 3, 4])
