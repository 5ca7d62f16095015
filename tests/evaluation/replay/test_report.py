"""The report of a replay: the verdict in words, the same numbers everywhere, and all that is needed to do it again."""

import io
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rankstream.cli.views.replay import print_summary
from rankstream.evaluation.baselines.panel import RANDOM
from rankstream.evaluation.baselines.popularity import POPULARITY
from rankstream.evaluation.html_page import Plot
from rankstream.evaluation.replay.outcomes import (
    ALL,
    Outcomes,
    RankedQuery,
    score_probabilities,
    score_random,
    score_ranking,
)
from rankstream.evaluation.replay.report import write_report
from rankstream.evaluation.replay.summary import summarise
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.evaluation.replay.wording import against_best, difference, verdicts, with_interval

ITEM_KNN = "item-kNN"
HOUR_MS, MORNING_MS = 3_600_000, 1_700_000_000_000
CANDIDATES = 40
DELAYS = {"late": None, "1h behind": HOUR_MS}


def outcomes_of(skill: dict[str, float], requests: int = 120, shown: bool = False) -> Outcomes:
    """Requests of 30 users, whose one positive each variant ranks first as often as its skill, else anywhere."""
    rng = np.random.default_rng(0)
    outcomes = Outcomes((3, 10), (ALL, "save"))
    outcomes.baselines = {name: f"what {name} is" for name in (POPULARITY, ITEM_KNN, RANDOM)}
    for n in range(requests):
        relevant = {ALL: np.array([0])} | ({"save": np.array([0])} if n % 2 else {})
        query = RankedQuery(f"u{n % 30}", MORNING_MS + n * HOUR_MS, n % 60, n % 3 == 0, CANDIDATES, relevant)
        outcomes.queries.append(query)
        for name, share in skill.items():
            ranks = rng.permutation(CANDIDATES) + 1
            ranks[0] = 1 if rng.random() < share else ranks[0]
            variant = outcomes.variant(name)
            score_ranking(variant, outcomes.heads, outcomes.ks, query, ranks)
            variant.newest_age_ms.append(60_000.0)
            if shown and name not in (POPULARITY, ITEM_KNN):
                score_probabilities(variant, "save", query, np.linspace(0.4, 0.01, CANDIDATES))
        score_random(outcomes.variant(RANDOM), outcomes.heads, outcomes.ks, query)
    return outcomes


def a_summary(skill: dict[str, float], shown: bool = False, **more: Any) -> dict[str, Any]:
    """The summary of a replay; variants of the same bundle are named "bundle, how late"."""
    names = [name for name in skill if name not in (POPULARITY, ITEM_KNN)]
    variants = [
        {"name": name, "bundle": name.split(",")[0], "delay_ms": DELAYS.get(name.partition(", ")[2], 0), "model": "m-1"}
        for name in names
    ]
    about = {
        "log": {
            "name": "log.parquet", "checksum": "c0ffee", "events": 1234, "first": "then", "last": "now",
            "skipped": {"schema: no [user]": 7}, "out_of_order": 3,
        },
        "protocol": {
            "name": "catalogue", "about": "where did the item stand?", "from": "noon", "until": None,
            "requests_found": 500, "positives": ["save"], "sample": None, "seed": 1,
        },
        "marks": [],
        "time": {"seconds": 2.0, "events_per_s": 617.0, "ranking_seconds": 1.0, "scoring_share": 0.25},
        "item_counts": {"models/a": "counted anew every 1d from what the log held before, 3 times"},
        "bundles": {"models/a": {"model": "m-1", "checksum": "beef"}},
        "command": "rankstream replay --events log.parquet",
    }  # fmt: skip
    return summarise(outcomes_of(skill, shown=shown), variants, catalogue=100) | about | more


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with all there can be in one, written once: it takes seconds."""
    return write_report(all_in_one(), tmp_path_factory.mktemp("report") / "new" / "folder")


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if matplotlib were not installed."""
    monkeypatch.delattr("rankstream.evaluation.replay.plots", raising=False)
    monkeypatch.setitem(sys.modules, "rankstream.evaluation.replay.plots", None)


def page_of(summary: dict[str, Any], folder: Path) -> str:
    return write_report(summary, folder).read_text()


BETTER = {"a": 0.6, POPULARITY: 0.1}


@cache
def all_in_one() -> dict[str, Any]:
    """A summary with all there can be in one."""
    return with_funnel(a_summary({"a": 0.6, "a, late": 0.2, POPULARITY: 0.1}, shown=True), "a")


def with_funnel(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """A summary of a funnel of two sources, in which one ranker found some of all items, and of the cold ones."""
    part = {"value": 0.5, "low": 0.4, "high": 0.6, "requests": 90}
    of = [f"{kind} by {source}" for kind in ("found", "added") for source in ("matches", "recent-likes")]
    metrics = ("found", *of, "hit@10", "ndcg@10", "young shown", "young wanted")
    parts = [part | {"items": items} for items in ("all", "cold: withheld")]
    protocol = summary["protocol"] | {"limit": 500}
    return summary | {"funnel": {metric: {name: parts} for metric in metrics}, "protocol": protocol}


@pytest.mark.parametrize(
    ("late", "words"),
    [(0.0, "Realtime pays here"), (0.6, "does not show that realtime pays"), (1.0, "Realtime does not pay here")],
)
def test_the_first_sentence_states_whether_realtime_pays(late: float, words: str):
    first = verdicts(a_summary({"a, realtime": 0.6, "a, late": late, POPULARITY: 0.1}))[0]
    assert words in first
    assert re.search(r"a difference of [+-]\d+\.\d points, interval", first)


@pytest.mark.parametrize(
    ("an_hour_late", "words"),
    [(0.6, "Up to 1h late, no clear loss is shown."), (0.2, "Already 1h late, it is clearly worse")],
)
def test_the_second_sentence_states_from_which_delay_on_a_loss_is_clear(an_hour_late: float, words: str):
    summary = a_summary({"a, realtime": 0.6, "a, 1h behind": an_hour_late, "a, late": 0.0, POPULARITY: 0.1})
    first, second, *_ = verdicts(summary)
    assert first.startswith("Realtime pays here" if "Already" in words else "Knowing what users did pays here")
    assert second.startswith(words)


@pytest.mark.parametrize(
    ("other", "words"), [(0.0, "better than"), (0.6, "not clearly different"), (1.0, "worse than")]
)
def test_bundles_are_compared_in_words(other: float, words: str):
    first, second, *_ = verdicts(a_summary({"a": 0.6, "b": other, POPULARITY: 0.1}))
    assert f"a is {words}" in first
    assert "popularity" in second


@pytest.mark.parametrize(
    ("skill", "words"),
    [
        (0.9, r"a beats item-kNN, the best of 3 baselines, by \d+\.\d points \[\d+\.\d, \d+\.\d\] of HIT@10: "),
        (0.6, r"a is not clearly different from item-kNN, the best of 3 baselines: HIT@10 \d+\.\d % against"),
        (0.1, r"a loses to item-kNN, the best of 3 baselines, by \d+\.\d points \[\d+\.\d, \d+\.\d\] of HIT@10: "),
    ],
)
def test_a_variant_is_compared_with_the_best_baseline_also_when_it_loses(skill: float, words: str):
    summary = a_summary({"a": skill, POPULARITY: 0.1, ITEM_KNN: 0.6})
    assert re.search(words, verdicts(summary)[0])


def test_the_best_baseline_is_compared_with_every_variant_by_every_metric():
    summary = a_summary({"a": 0.2, "b": 0.3, POPULARITY: 0.1, ITEM_KNN: 0.6})
    found = summary["against_best_baseline"]
    metrics = {"hit@3", "hit@10", "recall@3", "recall@10", "ndcg@3", "ndcg@10", "mrr"}
    assert {(one["variant"], one["metric"]) for one in found if one["head"] == ALL} == {
        (name, metric) for name in ("a", "b") for metric in metrics
    }
    loss = against_best(summary, "b")
    values = [summary["metrics"][name][ALL]["hit@10"]["value"] for name in ("b", ITEM_KNN)]
    assert loss["baseline"] == ITEM_KNN
    assert loss["value"] == pytest.approx(values[0] - values[1])
    assert loss["low"] < loss["value"] < loss["high"] < 0


def test_a_loss_by_another_metric_is_not_passed_over():
    summary = a_summary({"a": 0.6, POPULARITY: 0.1})
    for one in summary["against_best_baseline"]:
        if one["metric"] == "mrr":
            one.update(value=-0.2, low=-0.3, high=-0.1)
    assert any(
        "a loses to popularity, the best of 2 baselines, by 0.200 [0.100, 0.300] of MRR" in one
        for one in verdicts(summary)
    )


def test_a_mixed_feed_shows_who_won():
    won = {"wins": 30, "losses": 10, "ties": 2, "value": 0.7, "low": 0.6, "high": 0.8, "p_value": 0.01}
    sentences = verdicts(a_summary({"a": 0.6, "b": 0.3, POPULARITY: 0.1}, interleaving=won))
    assert any("a won 30 and lost 10 requests (2 were even): 70.0 % of the credit" in one for one in sentences)


def test_what_makes_a_metric_less_than_it_seems_stands_beside_it():
    summary = a_summary(BETTER) | {"targets_unknown": 80}
    summary["protocol"]["sample"] = 100
    sampled = "100 of them sampled at random, so the ranks are those in the sample, not in the catalogue"
    assert sampled in verdicts(summary)[-1]
    assert "in 80 requests the positive is not in the catalogue" in verdicts(summary)[-1]


def test_a_log_of_which_the_bundle_knows_no_item_has_no_verdict():
    summary = a_summary(BETTER)
    first, *_, measured = verdicts(summary | {"targets_unknown": summary["requests"]})
    assert first.startswith("Nothing can be said: of all items that these requests are about, the catalogue knows none")
    assert measured.startswith("Measured on")


def test_the_page_stands_alone_and_shows_how_to_reproduce_it(report: Path):
    text = report.read_text()
    assert not re.search(r'(src|href)="(?!#)', text)
    for part in ("rankstream replay --events log.parquet", "sha256 c0ffee", "manifest beef", "numpy", "UTC", "cores"):
        assert part in text


def test_all_that_can_be_drawn_is_drawn(report: Path):
    text = report.read_text()
    for heading in ("What is freshness worth?", "Over time", "By user and by hour", "Calibration"):
        assert f"<h2>{heading}</h2>" in text
    assert text.count("<svg") == 2 * 6  # each for a screen and for a phone


def test_page_json_and_terminal_show_the_same_numbers(report: Path):
    numbers = json.loads(report.with_suffix(".json").read_text(), parse_constant=lambda name: pytest.fail(name))
    printed = io.StringIO()
    print_summary(all_in_one(), Console(file=printed, width=120))
    found = numbers["metrics"]["a"][ALL]["hit@10"]
    assert found == all_in_one()["metrics"]["a"][ALL]["hit@10"]
    value, interval = with_interval(found, "hit@10").rstrip(")").split(" (")
    assert f"<td>{value}<small>{interval}</small></td>" in report.read_text()
    assert value in printed.getvalue()
    assert interval in printed.getvalue()


def test_a_funnel_is_drawn_and_told_part_by_part_on_the_page_and_in_the_terminal(report: Path):
    printed = io.StringIO()
    print_summary(all_in_one(), Console(file=printed, width=160))
    page = report.read_text()
    for words in ("recall@500", "recent-likes", "cold: withheld", "50.0 %"):
        assert words in page
        assert words in printed.getvalue()
    assert "How many of the wanted items are left at each step of a" in page
    assert "The funnel" not in page_of(a_summary(BETTER), report.parent / "other")


def test_probabilities_are_scored_where_what_was_shown_is_known(report: Path):
    assert "60 of 4,800" in report.read_text()  # saves of all candidates


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(("calibrated", "is_a_score"), [((), True), (("save",), False), (None, False)])
def test_a_head_that_is_not_calibrated_is_called_a_score(tmp_path: Path, calibrated, is_a_score):
    summary = all_in_one()
    summary["variants"] = [one | {"calibrated": calibrated} for one in summary["variants"]]
    assert ("save, a (a score, no probability)" in page_of(summary, tmp_path)) == is_a_score


@pytest.mark.usefixtures("no_plots")
def test_without_matplotlib_the_page_shows_how_to_get_plots(tmp_path: Path):
    text = page_of(all_in_one(), tmp_path)
    assert "pip install" in text
    assert "<svg" not in text


@pytest.mark.usefixtures("no_plots")
def test_what_a_replay_did_not_measure_is_not_in_the_page(tmp_path: Path):
    text = page_of(a_summary(BETTER), tmp_path)
    assert "Predictions of each head" not in text
    assert "nan" not in text


@pytest.mark.usefixtures("no_plots")
def test_metrics_that_are_not_known_are_null_and_a_dash(tmp_path: Path):
    summary = a_summary(BETTER)
    summary["metrics"]["a"]["save"]["hit@10"] = {"value": float("nan"), "low": np.nan, "high": np.nan, "requests": 2}
    assert "<td>–</td>" in page_of(summary, tmp_path)
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert numbers["metrics"]["a"]["save"]["hit@10"]["value"] is None


@pytest.mark.usefixtures("no_plots")
def test_allowed_leaks_stand_before_everything_else(tmp_path: Path):
    summary, printed = a_summary(BETTER, marks=["LEAK: the model has seen it"]), io.StringIO()
    text = page_of(summary, tmp_path)
    assert text.index("LEAK: the model has seen it") < text.index('class="verdict"')
    print_summary(summary, Console(file=printed))
    assert printed.getvalue().startswith("LEAK")


@pytest.mark.usefixtures("no_plots")
def test_skipped_rows_are_shown_with_their_reasons(tmp_path: Path):
    printed = io.StringIO()
    print_summary(a_summary(BETTER), Console(file=printed))
    assert "skipped 7: schema: no [user]" in printed.getvalue()
    assert "7 rows: schema: no [user]" in page_of(a_summary(BETTER), tmp_path)


@pytest.mark.usefixtures("no_plots")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "taken").touch()
    with pytest.raises(ReplayError, match=r"can't be written to .*taken .*; name another folder"):
        write_report(a_summary(BETTER), tmp_path / "taken")


def test_the_same_metrics_draw_the_same_plot():
    plots = pytest.importorskip("rankstream.evaluation.replay.plots", reason="plots need the demo extra")
    one, other = (Plot(plots.of_variants(all_in_one()), "caption").html() for _ in range(2))
    assert one == other


def test_shares_differ_in_percentage_points_and_other_metrics_as_they_are():
    found = {"value": 0.02, "low": -0.01, "high": 0.05}
    assert difference(found, "hit@10") == "+2.0 points (-1.0 to +5.0)"
    assert difference(found, "ndcg@10") == "+0.020 (-0.010 to +0.050)"
