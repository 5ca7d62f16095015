"""No table of the program cuts a name or breaks a number, however narrow the terminal."""

import ast
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from rankstream.cli.commands import bundle, catalogue, dead_letters, evaluate, index, interests, status, topics, verify
from rankstream.cli.commands import settings as settings_command
from rankstream.cli.demo import screen
from rankstream.cli.demo.scoreboard import FOUND, HYBRID, ITEM_KNN, NO_REALTIME, POPULAR, VMIS_KNN, Scoreboard, Scored
from rankstream.cli.views import explanation, feeds, monitor, off_policy, replay
from rankstream.cli.views import graph as graph_views
from rankstream.cli.views.table import Facts, Table, console, names, numbers
from rankstream.evaluation.audit.diff import Difference
from rankstream.evaluation.audit.explanation import (
    CountsOfItems,
    ExplainedItem,
    Explanation,
    KnownAction,
    MissedAction,
    Sessions,
    Term,
    UserVector,
    VectorsOfItems,
)
from rankstream.evaluation.audit.occlusion import NO_ACTIONS, NO_USER_VECTOR, Effect
from rankstream.evaluation.audit.verify import Report as VerifyReport
from rankstream.evaluation.held_out import Estimate as HeldOutEstimate
from rankstream.evaluation.held_out import HeldOutMetric
from rankstream.evaluation.monitoring.windows import BySource, Contrast, Window
from rankstream.evaluation.off_policy.by_source import SourceResult
from rankstream.evaluation.off_policy.estimators import Estimate
from rankstream.evaluation.off_policy.report import EstimatorResult, Evaluation
from rankstream.metrics.ratios import Ratio
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.request import FeedItem
from rankstream.streams.clients.group_status import GroupStatus, MemberStatus, PartitionStatus
from rankstream.streams.codec import DeadLetter, FeedError, RankedFeed
from rankstream.streams.topics import ALL_TOPICS
from tests.builders.bundle import a_bundle
from tests.builders.catalogue import a_catalogue, an_item
from tests.evaluation.replay.test_report import a_summary, with_funnel

ROOT = Path(__file__).parents[3]
NOON_MS = 1_700_000_000_000
WIDTHS = (40, 60, 80, 100, 140, 200)
SKU = "sku-0000000017-winter-boots"  # a name that can't be wrapped
USER = "0193e2c4-uid-7f41-9d0e-88a1"
MODEL = "2026-07-01-full-hybrid"


def lines_of(renderable: object, width: int) -> list[str]:
    """What a terminal of this width shows."""
    printed = io.StringIO()
    Console(file=printed, width=width, highlight=False).print(renderable)
    return printed.getvalue().splitlines()


def words_shown(lines: Iterable[str]) -> set[str]:
    return {word for line in lines for word in re.sub("[┃│━─┏┓┗┛┡┩╇┳├┤┼└┘┴]", " ", line).split()}


# The law --------------------------------------------------------------------------------------------------------------

WORDS = st.text("abcxyz0189-_.:[]/äж€語", min_size=1, max_size=12)
CELLS = st.lists(WORDS, max_size=6).map(" ".join)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    count = draw(st.integers(1, 8))
    columns = [draw(st.sampled_from([*names("name x"), *numbers("number")])) for _ in range(count)]
    columns = [replace(column, title=f"{column.title} {n}") for n, column in enumerate(columns)]
    rows = draw(st.lists(st.tuples(*[WORDS if column.is_number else CELLS for column in columns]), max_size=5))
    return Table(columns, rows, draw(CELLS), [draw(CELLS)])


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(40, 200))
def test_every_word_of_any_table_is_whole_at_any_width(table: Table, width: int):
    lines = lines_of(table, width)
    cells = [str(cell) for row in table.rows for cell in row] + [str(table.title), *map(str, table.notes)]
    assert {word for cell in cells for word in cell.split()} <= words_shown(line.replace(";", " ") for line in lines)
    assert max(Text(line).cell_len for line in lines) <= width


@pytest.mark.parametrize("width", [40, 80])
def test_a_name_that_is_longer_than_the_terminal_goes_on_in_the_next_line(width: int):
    name = "".join(f"{n:03d}" for n in range(60))
    shown = "".join("".join(lines_of(Table(names("item", "what"), [[name, "a"], ["b", "c"]]), width)).split())
    assert name in shown


def test_what_is_the_same_in_all_rows_is_said_once_where_the_table_is_too_wide():
    rows = [[reason, "user-actions", "3", "a message of some words"] for reason in ("schema", "unknown-action")]
    table = Table([*names("reason", "topic"), *numbers("partition"), *names("message")], rows)
    assert sum("user-actions" in line for line in lines_of(table, 100)) == 2
    narrow = lines_of(table, 60)
    assert sum("user-actions" in line for line in narrow) == 1
    assert "in all rows: topic user-actions; partition 3" in " ".join(narrow)


def test_one_row_keeps_all_its_columns():
    shown = " ".join(lines_of(Table(names("one", "two", "three"), [["a" * 20, "b" * 20, "c" * 20]]), 40))
    assert "in all rows" not in shown
    assert all(title in shown for title in ("one", "two", "three"))


def test_what_a_log_says_is_no_markup_no_emoji_and_moves_no_cursor():
    said = "[red]x[/] :smile: \x1b[2J\r\x07"
    (row,) = [line for line in lines_of(Table(names("message", "n"), [[said, "7"]]), 80) if "7" in line]
    assert r"[red]x[/] :smile: \x1b[2J\r\x07" in row


def test_a_pipe_gets_every_row_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.delenv("COLUMNS", raising=False)
    cells = [f"cell {n} of a very wide table" for n in range(20)]
    console().print(Table(names(*map(str, range(20))), [cells]))
    assert any(all(cell in line for cell in cells) for line in capsys.readouterr().out.splitlines())


# All tables of the program --------------------------------------------------------------------------------------------


def a_feed(**changes: object) -> RankedFeed:
    items = [FeedItem(SKU, 0.75, {"add-to-cart": 0.5, "view": 0.1, "purchase": 0.2}), FeedItem("a", -0.25, {
        "add-to-cart": 0.1, "view": 0.4, "purchase": 0.9})]  # fmt: skip
    facts = {"model_version": MODEL, "actions_used": 3, "newest_action_age_ms": 1500, "user_vector_found": True}
    feed = RankedFeed("r1", USER, NOON_MS, items=items, unknown_items=0, timings_ms={"total": 2.0}, **facts)  # type: ignore[arg-type]
    return msgspec.structs.replace(feed, **changes)


def an_error() -> RankedFeed:
    return RankedFeed("r2", USER, NOON_MS, error=FeedError("deadline-passed", "its turn came 50 ms [late]"))


def some_dead_letters() -> list[DeadLetter]:
    message = "action 'like' is not in the bundle's vocabulary [view, click, save]"
    topic = "staging.eu-west-1.user-actions"
    return [DeadLetter("unknown-action", message, topic, 3, 104_223 + n, NOON_MS + n, None, None, 3) for n in range(3)]


def some_topics() -> list[topics.Described]:
    return [topics.Described(f"staging.{topic.name}", topic, 24, 3, {}) for topic in ALL_TOPICS]


def a_verify_report() -> VerifyReport:
    one = Difference(f"req-{SKU}", USER, 3, 12, 104_223, ("features", "scores"), 0.1, "hash 5c0ff8a2 against 9f8e7d6c")
    return VerifyReport(MODEL, 0.0, differences=[one] * 25)


WEIGHTS = {"edges": {"save:collection_id": 3.0}, "half_life": "30d"}
A_GROUP = GroupStatus(
    "shop", "Stable", [MemberStatus(f"worker-{SKU}", "/10.0.0.7", [3, 7, 11])],
    [PartitionStatus("user-actions", 3, f"worker-{SKU}", 104_223, 104_300, 77)],
)  # fmt: skip


def a_window() -> Window:
    one = Ratio(500, 1_000, 0.01)
    return Window(
        NOON_MS, NOON_MS + 3_600_000, MODEL, 1_000, 90, one, one, {"add-to-cart": one}, one, one, one, one, 40.0
    )


def a_source_result() -> SourceResult:
    one = Estimate(0.1234, 0.1111, 0.1357)
    return SourceResult("interest:2", 0.25, one, one, {"snips": one}, {"snips": one}, {"snips": one}, 120.0)


def an_evaluation() -> Evaluation:
    one = Estimate(0.1234, 0.1111, 0.1357)
    estimates = {name: EstimatorResult(one, one) for name in ("ips", "snips", "dr")}
    return Evaluation(3, one, estimates, [900.0, 400.0, 120.0], [1.0, 0.99, 0.97], [0.1] * 3, 20.0)


def an_explanation(policy: str | None = "plackett-luce") -> Explanation:
    action = KnownAction(0, SKU, "add-to-cart", "home-feed", 1.0, NOON_MS, 12_000, 0, True, True, 104_223, 100)
    effects = tuple(Effect(of, 0.25, 2) for of in (NO_ACTIONS, NO_USER_VECTOR, 0))
    terms = tuple(Term(head, 0.5, 1.0, 0.5) for head in ("purchase", "add-to-cart", "view"))
    items = tuple(ExplainedItem(f"{SKU}-{n}", n, n, 0.1, 1.25, True, terms, effects) for n in (1, 2, 3))
    return Explanation(
        f"req-{SKU}", USER, NOON_MS, MODEL, ("view",), policy, 3, 7, 104_223, 42, False, "the features differ",
        (action,), (MissedAction(SKU, "purchase", NOON_MS, 104_224, 900),), Sessions(1, 2, True),
        UserVector("000007-9c3f5a01e2d4b678", NOON_MS, 1, True),
        CountsOfItems("000019-5a01e2d4b6789c3f", NOON_MS, 3_600_000),
        VectorsOfItems("000003-77b0c2d98e21fa60", NOON_MS, 3_600_000), 23, (SKU,), items,
    )  # fmt: skip


def a_board() -> Scoreboard:
    board = Scoreboard()
    ranks = {HYBRID: 1, FOUND: 2, NO_REALTIME: 5, VMIS_KNN: 7, ITEM_KNN: 9, POPULAR: 20}
    board.add(Scored("u1", 100, ranks, 3, 40.0, True, 60.0))
    return board


def some_metrics() -> list[HeldOutMetric]:
    one = HeldOutEstimate(0.3456, 0.3111, 0.4)
    baselines = dict.fromkeys(("popularity", "last item's neighbours", "item-kNN"), one)
    verdict = "HierTCN is ahead of item-kNN"
    return [
        HeldOutMetric("HierTCN", metric, 0.5, 0.4, 0.6, 1234, 7, baselines, "item-kNN", one, verdict)
        for metric in ("Recall@10", "MRR")
    ]


SETTINGS_ROWS = [
    ("ssl_cafile", "x", "/etc/ssl/certs/kafka-ca.pem", "RANKSTREAM_SSL_CAFILE"),
    ("train.batch", 1, "64", "d"),
]

CHECKED = {"limit": 1_000, "ef": None, "recall": 1.0} | dict.fromkeys(index.TIMES, 12.345)


def a_funnel() -> dict[str, Any]:
    return with_funnel(a_summary({MODEL: 0.6, "popularity": 0.1}), MODEL)


Shown = tuple[Callable[[], Iterable[object]], tuple[str, ...]]  # what is printed, and names that must be whole in it

SHOWN: dict[str, Shown] = {
    "views/feeds.py feed_table": (lambda: [feeds.feed_table(a_feed())], (SKU, "add-to-cart", "-0.2500", MODEL)),
    "views/feeds.py feeds_table": (
        lambda: [feeds.feeds_table([a_feed(), an_error()], 1234)], (SKU, USER, "deadline-passed:", "[late]", MODEL)),
    "views/explanation.py _head": (lambda: explanation.parts_of(an_explanation(), 10), (USER, MODEL)),
    "views/explanation.py _scores": (
        lambda: explanation.parts_of(an_explanation(), 10), (f"{SKU}-1", "add-to-cart", "1.2500", "+0.5000")),
    "views/explanation.py _effects": (
        lambda: explanation.parts_of(an_explanation(None), 10), (SKU, "home-feed", "+0.250")),
    "views/explanation.py _missed": (lambda: explanation.parts_of(an_explanation(), 0), (SKU, "purchase", "104,224")),
    "views/off_policy.py sources_table": (
        lambda: [off_policy.sources_table([a_source_result()], "snips", 3)], ("interest:2", "0.1234", "+0.1357")),
    "views/off_policy.py estimates_table": (
        lambda: [off_policy.estimates_table(an_evaluation(), 900)], ("snips", "0.1234", "+0.1357")),
    "views/monitor.py windows_table": (lambda: [monitor.windows_table([a_window()], "by model")], (MODEL, "50.00%")),
    "views/monitor.py differences_table": (
        lambda: [monitor.differences_table([Contrast("hit", Ratio(60, 100, 0.01), Ratio(50, 100, 0.01))])],
        ("hit", "0.6000", "+0.1000", "+0.0723", "+0.1277")),
    "views/monitor.py sources_table": (
        lambda: [monitor.sources_table([BySource(SKU, 1_234, Ratio(617, 1_234, 0.01))])], (SKU, "1,234", "50.00%")),
    "views/replay.py metrics_table": (
        lambda: [replay.metrics_table(a_summary({f"{MODEL}, realtime": 0.6, "popularity": 0.1}))],
        (f"{MODEL},", "popularity", "NDCG@10")),
    "views/replay.py funnel_tables": (
        lambda: replay.funnel_tables(a_funnel()), (MODEL, "recent-likes", "recall@500", "withheld")),
    "commands/status.py members_table": (lambda: [status.members_table(A_GROUP)], (f"worker-{SKU}", "/10.0.0.7", "11")),
    "commands/status.py partitions_table": (
        lambda: [status.partitions_table(A_GROUP)], ("user-actions", "104,223", "104,300", "77", f"worker-{SKU}")),
    "commands/status.py workers_table": (
        lambda: [status.workers_table([status.AskedWorker("worker-7:6066", False, ["away"], None)])],
        ("worker-7:6066", "no")),
    "commands/index.py curve_table": (
        lambda: [index.curve_table([{"limit": 5_000, "ef": 40_000, "recall": 0.9876}], "a title", 9)],
        ("5,000", "40,000", "0.988", "20,000")),
    "commands/index.py limits_table": (lambda: [index.limits_table([CHECKED], "a title")], ("1,000", "12.35", "all")),
    "commands/bundle.py show": (lambda: [Facts(bundle.facts_of(open_bundle(the_bundle())))], ("tiny-1", "ranker")),
    "commands/catalogue.py item_view": (
        lambda: [catalogue.item_view(an_item(SKU, title="Winter boots", category="Shoes>Boots", price=59.9))],
        (SKU, "59.9", "Boots")),
    "commands/catalogue.py catalogue_view": (
        lambda: [catalogue.catalogue_view(catalogue.facts_of(a_catalogue(*map(an_item, range(1_200)))))], ("1,200",)),
    "views/graph.py graph_view": (
        lambda: [graph_views.graph_view({"version": MODEL, "as_of_ms": 0, "edges": 1_200, "weights": WEIGHTS})],
        (MODEL, "1,200", "30d")),
    "commands/interests.py interests_table": (
        lambda: [interests.interests_table(USER, [interests.ShownInterest(SKU, 12.5, 0.75, 1_234)], 0)],
        (SKU, USER, "12.50", "75%", "1,234")),
    "commands/dead_letters.py table_of": (
        lambda: [dead_letters.table_of(some_dead_letters())],
        ("unknown-action", "staging.eu-west-1.user-actions", "104225", "[view,")),
    "commands/topics.py table_of": (
        lambda: [topics.table_of(some_topics(), 24)], ("staging.user-state-changelog", "staging.served-features")),
    "commands/settings.py table_of": (
        lambda: [settings_command.table_of(SETTINGS_ROWS)], ("/etc/ssl/certs/kafka-ca.pem", "RANKSTREAM_SSL_CAFILE")),
    "commands/verify.py differences_table": (
        lambda: [verify.differences_table(a_verify_report())], (f"req-{SKU}", USER, "9f8e7d6c")),
    "commands/evaluate.py table_of": (
        lambda: [evaluate.table_of(some_metrics(), "log")], ("HierTCN", "item-kNN", "1,234", "neighbours", "0.3456")),
    "demo/screen.py _metrics": (lambda: [screen._metrics(a_board(), 5.0, 9)], ("events/s", "realtime")),
    "demo/screen.py metrics_table": (lambda: [screen.metrics_table(a_board())], ("popularity", "1.000")),
}  # fmt: skip

FOLDER: list[Path] = []


def the_bundle() -> Path:
    return FOLDER[0]


@pytest.fixture(scope="module", autouse=True)
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> None:
    FOLDER[:] = [a_bundle(tmp_path_factory.mktemp("bundle") / "b")]


def makers_of_tables() -> set[str]:
    """Every function below cli/ that makes a table or facts."""
    found = set()
    for path in (ROOT / "cli").rglob("*.py"):
        if "from rankstream.cli.views.table import" in path.read_text():
            for function in ast.walk(ast.parse(path.read_text())):
                if isinstance(function, ast.FunctionDef) and makes_a_table(function):
                    found.add(f"{path.relative_to(ROOT / 'cli')} {function.name}")
    return found


def makes_a_table(function: ast.FunctionDef) -> bool:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return any(isinstance(one, ast.Name) and one.id in ("Table", "Facts") for one in calls)


def test_every_table_of_the_program_is_among_those_tested_here():
    assert makers_of_tables() == set(SHOWN)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("maker", SHOWN)
def test_no_name_is_cut_and_no_number_broken(maker: str, width: int):
    shown, whole = SHOWN[maker]
    lines = [line for one in shown() for line in lines_of(one, width)]
    assert "…" not in "".join(lines)
    assert [line for line in lines if Text(line).cell_len > width] == []
    assert set(whole) - {word.strip(",;.") for word in words_shown(lines)} - words_shown(lines) == set()


def test_there_is_one_way_to_print_a_table():
    """Nothing but ``views/table.py`` knows rich's tables or opens standard output for itself."""
    sources = {path: path.read_text() for room in ("cli", "evaluation") for path in (ROOT / room).rglob("*.py")}
    others = {path.name: text for path, text in sources.items() if path.name != "table.py"}
    assert [name for name, text in others.items() if "rich.table" in text] == []
    assert [name for name, text in others.items() if re.search(r"\bConsole\((?!stderr=True)[^)]*\)", text)] == []


def test_as_many_of_the_newest_feeds_are_watched_as_the_screen_has_lines_for():
    small = Console(file=io.StringIO(), width=80, height=16)
    newest = feeds.newest_that_fit([a_feed(user_id=f"u{n}") for n in range(10)], 10, small)
    assert 1 <= len(newest.rows) < 10
    assert newest.rows[0][1] == "u0"
    assert len(small.render_lines(newest)) < 16
