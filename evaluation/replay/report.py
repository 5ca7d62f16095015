"""The report of a replay: a page for people, the same numbers as JSON for programs, and the short form for a terminal.

A summary is what ``summary.summarise`` gives, with what is known of the log, the protocol and the time it took.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from rankstream.evaluation.html_page import Block, Facts, Heading, Plot, Table, Text, Verdict, Warnings, page
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.run import POPULARITY, RANDOM
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.evaluation.replay.wording import (
    MEANINGS,
    NONE,
    Summary,
    against,
    difference,
    number,
    rankers,
    shown_variants,
    stacked,
    title_of,
    verdicts,
    with_interval,
)
from rankstream.evaluation.time_text import time_text

LIBRARIES = ("rankstream", "numpy", "onnxruntime", "pyarrow", "msgspec", "matplotlib")
REASONS = 10  # for which rows were skipped, that are told


def write_report(summary: Summary, out: Path) -> Path:
    """Write ``report.html`` and ``report.json`` into a folder; give the page's path. Raises ``ReplayError``."""
    told = _without_nan({**summary, "made": _made()})
    shown = page("What the feeds would have been worth", _lead(told), _blocks(told), _last_line(told))
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (out / "report.html").write_text(shown, encoding="utf-8")
    except OSError as exc:
        raise ReplayError(f"the report can't be written to {out} ({exc.strerror}); name another folder") from exc
    return out / "report.html"


def _without_nan(value: Any) -> Any:
    """Return plain data in which what is not known is null: NaN is no JSON."""
    if isinstance(value, Mapping):
        return {str(name): _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    if isinstance(value, float) or hasattr(value, "item"):
        plain = float(value)
        return int(plain) if not isinstance(value, float) and plain.is_integer() else plain if isfinite(plain) else None
    return value


def _made() -> dict[str, Any]:
    """Say when, on what and with which versions the report is made."""
    return {
        "at": time_text(time.time_ns() // 1_000_000),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    """Return the processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


# The page -------------------------------------------------------------------------------------------------------------


def _lead(told: Summary) -> str:
    log, protocol = told["log"], told["protocol"]
    return (
        f"{log['events']:,} events of {log['name']}, {log['first']} to {log['last']}, replayed through the code that "
        f"serves; ranked from {protocol['from']} on: {protocol['about']}"
    )


def _last_line(told: Summary) -> str:
    return f"rankstream replay, made {told['made']['at']}. The same numbers are in report.json."


def _blocks(told: Summary) -> list[Block]:
    blocks: list[Block] = [Warnings(told["marks"])] if told["marks"] else []
    blocks += [Verdict(verdicts(told)), Heading("What each ranker found"), _worth(told)]
    blocks += _plotted(told)
    blocks += [Heading("By kind of action"), _by_head(told)]
    if told["probabilities"]:
        blocks += [Heading("Are the probabilities right?"), _probabilities(told)]
    blocks += [Heading("Variety and freshness of the feeds"), _variety(told)]
    blocks += [Heading("What was replayed"), Facts(_replayed(told))]
    blocks += [Heading("What the words mean"), Facts(MEANINGS)]
    return [*blocks, Heading("How to get this report again"), Facts(_again(told))]


def _plotted(told: Summary) -> list[Block]:
    """Return the plots, or say how to get them."""
    try:
        from rankstream.evaluation.replay import plots
    except ImportError:
        return [Text('The plots need matplotlib: pip install "rankstream[demo]", and replay again.')]
    figure = title_of(told["main_figure"])
    blocks: list[Block] = [Plot(plots.of_variants(_with_nan(told)), f"{figure} of each ranker, with 95 % intervals.")]
    if told["staleness"]:
        caption = (
            f"{figure} when actions (and batch vectors) become known so much later. Right: request by request against "
            "the freshest; where an interval holds 0, no difference is shown."
        )
        blocks += [Heading("What is freshness worth?"), Plot(plots.of_staleness(_with_nan(told)), caption)]
    blocks += [
        Heading("Over time"),
        Plot(plots.over_time(_with_nan(told)), f"{figure} over the replayed time; bands are 95 % intervals."),
        Heading("For whom, and when"),
        Plot(plots.by_slice(_with_nan(told)), f"{figure} by what was known of the user and by hour (requests)."),
    ]
    if told["probabilities"]:
        caption = "What was promised against what came, in bins of equally many; on the dotted line, they agree."
        blocks += [Heading("Promised and came"), Plot(plots.calibration(_with_nan(told)), caption)]
    return blocks


def _with_nan(value: Any) -> Any:
    """Return null figures back as NaN, which plots leave out."""
    if isinstance(value, Mapping):
        sides = ("value", "low", "high")
        return {name: float("nan") if one is None and name in sides else _with_nan(one) for name, one in value.items()}
    return [_with_nan(one) for one in value] if isinstance(value, list) else value


def _cell(found: Mapping[str, Any] | None, figure: str) -> str:
    return stacked(with_interval(found, figure))


def _names(told: Summary) -> list[str]:
    return [*rankers(told), *(name for name in (POPULARITY, RANDOM) if name in told["figures"])]


def _worth(told: Summary) -> Table:
    figures = [f"hit@{k}" for k in told["ks"]] + [f"recall@{told['ks'][-1]}", f"ndcg@{told['ks'][-1]}", "mrr"]
    rows = []
    for name in _names(told):
        found = told["figures"][name][ALL]
        ahead = against(told, name)
        rows.append(
            [
                name,
                *(_cell(found.get(figure), figure) for figure in figures),
                NONE if ahead is None else stacked(difference(ahead, told["main_figure"])),
            ]
        )
    ahead_of = f"first row ahead by, {title_of(told['main_figure'])}"
    return Table(["ranked by", *map(title_of, figures), ahead_of], rows, marked=True)


def _by_head(told: Summary) -> Table:
    figure, first = told["main_figure"], rankers(told)[0]
    names = [name for name in (*shown_variants(told, 5), RANDOM) if name in told["figures"]]
    rows = []
    for head in told["heads"]:
        if told["figures"][first][head][figure]["points"]:
            points = told["figures"][first][head][figure]["points"]
            rows.append(
                [head, f"{points:,}"]
                + [_cell(told["figures"][name].get(head, {}).get(figure), figure) for name in names]
            )
    return Table([f"{title_of(figure)} of", "requests", *names], rows)


def _probabilities(told: Summary) -> Table:
    rows = [
        [
            f"{head}, {name}",
            f"{found['positives']:,} of {found['candidates']:,}",
            _cell(found["auc"], "auc"),
            _cell(found["gauc"], "gauc"),
            number(found["log_loss"]["value"], "log loss"),
            number(found["calibration_error"], "calibration error"),
            f"{_percent(found['promised'])} / {_percent(found['came'])}",
        ]
        for head in told["heads"]
        for name, heads in told["probabilities"].items()
        if (found := heads.get(head)) is not None and found["positives"]
    ]
    head = ["action, ranker", "came of", "AUC", "GAUC", "log loss", "calibration error", "promised / came"]
    return Table(head, rows)


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.2f} %"


def _variety(told: Summary) -> Table:
    rows = []
    for name, found in told["variety"].items():
        diverse = next((one for one in told["figures"][name][ALL] if one.startswith("diversity")), None)
        age = found["newest_action_age_ms_p50"]
        rows.append(
            [
                name,
                number(found["coverage"], "hit"),
                NONE if diverse is None else _cell(told["figures"][name][ALL][diverse], diverse),
                number(found["feeds_with_actions"], "hit"),
                NONE if age is None else _duration(age),
                number(found["user_vectors_found"], "hit"),
                f"{found['unknown_items']:,}",
            ]
        )
    head = ["ranker", "coverage", "diversity@10", "users with actions", "age of the newest (median)"]
    return Table([*head, "with a batch vector", "unknown items"], rows)


def _duration(ms: float) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if ms >= 2 * size:
            return f"{ms / size:,.0f} {unit}"
    return f"{ms:,.0f} ms"


def _replayed(told: Summary) -> dict[str, str]:
    log, protocol, took = told["log"], told["protocol"], told["time"]
    facts = {
        "log": f"{log['name']}: {log['events']:,} events, {log['first']} to {log['last']}",
        "protocol": f"{protocol['name']}: {protocol['about']}",
        "positive actions": ", ".join(protocol["positives"]),
        "ranked": f"{told['points']:,} of {protocol['points_found']:,} moments from {protocol['from']}"
        + (f" until {protocol['until']}" if protocol["until"] else " on")
        + f", drawn with seed {protocol['seed']}",
        "candidates": f"{told['candidates_median']:,.0f} (median)"
        + (f"; wanted, but not in the catalogue: {told['targets_unknown']:,}" if told["targets_unknown"] else ""),
        "time": f"{took['seconds']:,.1f} s, of which {took['ranking_seconds']:,.1f} s ranking; "
        f"{100 * took['scoring_share']:.0f} % of all was scoring by the model",
        "out of order": f"{log.get('out_of_order', 0):,} events came after later ones",
    }
    if protocol["sample"]:
        facts["sampled"] = f"{protocol['sample']:,} candidates drawn; places are estimates for the whole catalogue"
    for place, (reason, count) in enumerate(list(log["skipped"].items())[:REASONS], start=1):
        facts[f"skipped ({place})"] = f"{count:,} rows: {reason}"
    return facts


def _again(told: Summary) -> dict[str, str]:
    made = told["made"]
    facts = {"command": told["command"], "log": f"{told['log']['name']}, sha256 {told['log']['checksum']}"}
    for place, found in told["bundles"].items():
        facts[f"bundle {place}"] = f"model {found['model']}, manifest {found['checksum']}"
    facts["versions"] = ", ".join(f"{name} {one}" for name, one in made["versions"].items())
    return facts | {"machine": made["machine"], "made": made["at"]}


# The terminal ---------------------------------------------------------------------------------------------------------


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print the verdict, the figures of each ranker, and what was skipped."""
    told, console = _without_nan(summary), console or Console(file=sys.stdout)
    for mark in told["marks"]:
        console.print(escape(mark), style="bold red")
    first, *others = verdicts(told)
    console.print(escape(first), style="bold")
    for sentence in others:
        console.print(escape(sentence))
    console.print(_table(told))
    log, took = told["log"], told["time"]
    for reason, count in list(log["skipped"].items())[:REASONS]:
        console.print(escape(f"skipped {count:,}: {reason}"), style="yellow")
    rankings = f"{told['points']:,} points ranked by {len(told['lanes'])} ranker{'s' * (len(told['lanes']) > 1)}"
    share = 100 * took["scoring_share"]
    console.print(f"{log['events']:,} events, {rankings}, in {took['seconds']:,.1f} s; {share:.0f} % of it scoring")


def _table(told: Summary) -> RichTable:
    figures = list(dict.fromkeys([told["main_figure"], f"ndcg@{told['ks'][-1]}", "mrr"]))[:2]  # 80 columns hold no more
    table = RichTable(title=f"{told['protocol']['name']}: any positive action, 95 % intervals", title_justify="left")
    table.add_column("ranked by", overflow="fold")
    for figure in figures:
        table.add_column(title_of(figure), justify="right", no_wrap=True)
    table.add_column(f"first ahead by\n{title_of(told['main_figure'])}", justify="right", no_wrap=True)
    for name in _names(told):
        found, ahead = told["figures"][name][ALL], against(told, name)
        cells = [_cell(found.get(figure), figure) for figure in figures]
        table.add_row(escape(name), *cells, NONE if ahead is None else stacked(difference(ahead, told["main_figure"])))
    return table
