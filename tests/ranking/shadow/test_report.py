import msgspec
import pytest

from rankstream.ranking.shadow.comparison import Outcome
from rankstream.ranking.shadow.report import (
    LEAST,
    NEWEST,
    Tally,
    against,
    failure_of,
    figures_of,
    read_reports,
    write_report,
)

OLD, SAME = Outcome((1, 2, 3, 4), 2.0), Outcome((1, 2, 3, 4), 2.3)


def a_tally(worker="a", same=0, **others: Outcome) -> Tally:
    tally = Tally(worker)
    for _ in range(same):
        tally.add(OLD, SAME)
    for outcome in others.values():
        tally.add(OLD, outcome)
    return tally


def test_reports_of_several_workers_make_one_set_of_figures(tmp_path):
    write_report(tmp_path, a_tally("a", same=3).report(1_000))
    write_report(tmp_path, a_tally("b", other=Outcome((9, 8, 7, 6), 4.0)).report(2_000))
    figures = figures_of(read_reports(tmp_path))
    assert (figures.workers, figures.compared) == (2, 4)
    assert (figures.overlap.mean, figures.overlap.median) == (0.75, 1.0)
    assert figures.correlation.mean == 1.0  # there is none where nothing is in common
    assert figures.ratio == pytest.approx(1.15)


def test_a_request_that_neither_answers_is_no_error_of_the_new_one():
    tally = Tally("a")
    tally.add(Outcome(error="no-candidates"), Outcome(error="no-candidates"))
    tally.add(OLD, Outcome(error="internal"))
    report = tally.report(1_000)
    assert (report.compared, report.errors) == (0, {"internal": 1})


def test_only_the_newest_comparisons_are_kept_but_all_are_counted():
    report = a_tally(same=NEWEST + 5).report(1_000)
    assert (report.compared, len(report.samples)) == (NEWEST + 5, NEWEST)


def verdict(tally: Tally, slower: float = 2.0, min_overlap: float = 0.1) -> str | None:
    return against(figures_of([tally.report(1_000)]), slower, min_overlap)


def test_nothing_speaks_against_an_equal_bundle():
    assert verdict(a_tally(same=LEAST)) is None


def test_one_that_takes_too_long_is_told_with_what_would_let_it_serve():
    told = verdict(a_tally(same=LEAST), slower=1.05)
    assert told is not None
    assert told.startswith("it takes 2.3 ms for a request, 1.1 times as long as the one before; --slower 1.2")


def test_one_that_orders_all_else_is_told():
    tally = a_tally()
    for _ in range(LEAST):
        tally.add(OLD, Outcome((9, 8, 7, 6), 2.0))
    assert "only 0% of the 10 best items are as before" in str(verdict(tally))


def test_errors_of_its_own_are_told_though_few_were_ranked():
    assert verdict(a_tally(same=99, one=Outcome(error="internal"))) is None  # 1 of 100
    told = verdict(a_tally(same=9, one=Outcome(error="internal")))
    assert told == "it failed 1 of 10 requests that the one before answered (internal)"


def test_too_few_requests_say_nothing():
    told = verdict(a_tally(same=LEAST - 1))
    assert told == "only 29 requests were ranked by both, and 30 are wanted: raise --shadow-share or --shadow-minutes"


def test_one_worker_where_it_fails_is_enough():
    reports = [a_tally("a", same=50).report(1_000), Tally("b").report(1_000, "it can't be tried: no memory")]
    assert failure_of(reports) == "on worker b it can't be tried: no memory"
    assert failure_of(reports[:1]) is None


def test_a_report_goes_through_its_file_as_it_is(tmp_path):
    report = a_tally("host-7", same=2, bad=Outcome(error="internal")).report(1_000)
    write_report(tmp_path, report)
    (tmp_path / ".host-7.json.99.unfinished").write_bytes(b"{")  # left by one that was killed
    assert msgspec.to_builtins(read_reports(tmp_path)) == msgspec.to_builtins([report])
