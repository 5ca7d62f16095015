"""The report of a replay: a page for people, and the same numbers as JSON for programs.

A summary is what ``summary.summarise`` returns, with what is known of the log, the protocol and the time it took.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

from rankstream.evaluation.baselines.panel import RANDOM
from rankstream.evaluation.html_page import Block, Facts, Heading, Plot, Table, Text, Verdict, Warnings, page
from rankstream.evaluation.replay.funnel_tables import TextTable, ranked_table, sources_table
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.evaluation.replay.wording import (
    NONE,
    Summary,
    baselines_of,
    difference,
    lead_over,
    meanings_of,
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
REASONS = 10  # for which rows were skipped, that are shown


def write_report(summary: Summary, out: Path) -> Path:
    """Write ``report.html`` and ``report.json`` into a folder; return the page's path. Raises ``ReplayError``."""
    summary = document_of(summary)
    html = page("Replay evaluation", _lead(summary), _blocks(summary), _last_line(summary))
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (out / "report.html").write_text(html, encoding="utf-8")
    except OSError as exc:
        raise ReplayError(f"the report can't be written to {out} ({exc.strerror}); name another folder") from exc
    return out / "report.html"


def document_of(summary: Summary) -> dict[str, Any]:
    """Return what ``report.json`` holds: the summary, and when, on what and with which versions it was made."""
    document: dict[str, Any] = without_nan({**summary, "made": _made()})
    return document


def without_nan(value: Any) -> Any:
    """Return plain data in which what is not known is null: NaN is no JSON."""
    if isinstance(value, Mapping):
        return {str(name): without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    if isinstance(value, float) or hasattr(value, "item"):
        plain = float(value)
        return int(plain) if not isinstance(value, float) and plain.is_integer() else plain if isfinite(plain) else None
    return value


def _made() -> dict[str, Any]:
    """Return when, on what and with which versions the report is made."""
    return {
        "at": time_text(time.time_ns() // 1_000_000),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    """Return the processor's name, where the system knows it."""
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


def _lead(summary: Summary) -> str:
    log, protocol = summary["log"], summary["protocol"]
    return (
        f"{log['events']:,} events of {log['name']}, {log['first']} to {log['last']}, replayed through the code that "
        f"serves; ranked from {protocol['from']} on: {protocol['about']}"
    )


def _last_line(summary: Summary) -> str:
    return f"rankstream replay, made {summary['made']['at']}. The same numbers are in report.json."


def _blocks(summary: Summary) -> list[Block]:
    blocks: list[Block] = [Warnings(summary["marks"])] if summary["marks"] else []
    blocks += [Verdict(verdicts(summary)), Heading("Metrics of each ranker"), _overall(summary)]
    if summary["funnel"]:
        blocks += [Heading("The funnel"), *_funnel(summary)]
    blocks += _plotted(summary)
    blocks += [Heading("By action"), _by_head(summary)]
    if summary["probabilities"]:
        blocks += [Heading("Predictions of each head"), _probabilities(summary)]
    blocks += [Heading("Coverage, diversity and freshness"), _variety(summary)]
    blocks += [Heading("What was replayed"), Facts(_replayed(summary))]
    blocks += [Heading("Definitions"), Facts(meanings_of(summary))]
    return [*blocks, Heading("How to reproduce this report"), Facts(_again(summary))]


def _plotted(summary: Summary) -> list[Block]:
    """Return the plots, or a sentence on how to get them."""
    try:
        from rankstream.evaluation.replay import plots
    except ImportError:
        return [Text('The plots need matplotlib: pip install "rankstream[demo]", and replay again.')]
    metric, drawn = title_of(summary["main_metric"]), _with_nan(summary)

    def plot(draw: Callable[[Summary, bool], Any], caption: str) -> Plot:
        return Plot(draw(drawn, False), caption, narrow=draw(drawn, True))

    blocks: list[Block] = [plot(plots.of_variants, f"{metric} of each ranker, with 95 % intervals.")]
    if summary["funnel"]:
        caption = (
            f"How many of the wanted items are left at each step of {rankers(summary)[0]}; and what each source finds "
            "alone, and adds to the others."
        )
        blocks.append(plot(plots.of_funnel, caption))
    if summary["staleness"]:
        caption = (
            f"{metric} by the delay of actions and batch vectors, and the change from the freshest variant, paired by "
            "request; where an interval holds 0, no difference is shown."
        )
        blocks += [Heading("What is freshness worth?"), plot(plots.of_staleness, caption)]
    sliced = f"{metric} by the user's known actions, by new and known users, and by hour; requests in brackets."
    blocks += [
        Heading("Over time"),
        plot(plots.over_time, f"{metric} over the replayed time; bands are 95 % intervals."),
        Heading("By user and by hour"),
        plot(plots.by_slice, sliced),
    ]
    if summary["probabilities"]:
        caption = "Predicted against observed rates, in bins of equally many; on the dotted line, they agree."
        blocks += [Heading("Calibration"), plot(plots.calibration, caption)]
    return blocks


def _with_nan(value: Any) -> Any:
    """Return unknown values as NaN again, which plots leave out."""
    if isinstance(value, Mapping):
        sides = ("value", "low", "high")
        return {name: float("nan") if one is None and name in sides else _with_nan(one) for name, one in value.items()}
    return [_with_nan(one) for one in value] if isinstance(value, list) else value


def _cell(found: Mapping[str, Any] | None, metric: str) -> str:
    return stacked(with_interval(found, metric))


def ranked_by(summary: Summary) -> list[str]:
    """Return the names of all that ranked: the variants, then the baselines."""
    return [*rankers(summary), *baselines_of(summary)]


def _overall(summary: Summary) -> Table:
    metrics = [f"hit@{k}" for k in summary["ks"]] + [f"recall@{summary['ks'][-1]}", f"ndcg@{summary['ks'][-1]}", "mrr"]
    rows = []
    for name in ranked_by(summary):
        found = summary["metrics"][name][ALL]
        ahead = lead_over(summary, name)
        rows.append(
            [
                name,
                *(_cell(found.get(metric), metric) for metric in metrics),
                NONE if ahead is None else stacked(difference(ahead, summary["main_metric"])),
            ]
        )
    ahead_of = f"first row ahead by ({title_of(summary['main_metric'])})"
    return Table(["ranked by", *map(title_of, metrics), ahead_of], rows, marked=True)


def _funnel(summary: Summary) -> list[Block]:
    tables = (ranked_table(summary), sources_table(summary))
    return [block for one in tables for block in (Text(f"{one.title[0].upper()}{one.title[1:]}."), _as_block(one))]


def _as_block(table: TextTable) -> Table:
    return Table([title.replace("\n", ", ") for title in table.titles], table.rows)


def _by_head(summary: Summary) -> Table:
    metric, first = summary["main_metric"], rankers(summary)[0]
    names = [name for name in dict.fromkeys((*shown_variants(summary, 5), RANDOM)) if name in summary["metrics"]]
    rows = []
    for head in summary["heads"]:
        if summary["metrics"][first][head][metric]["requests"]:
            requests = summary["metrics"][first][head][metric]["requests"]
            rows.append(
                [head, f"{requests:,}"]
                + [_cell(summary["metrics"][name].get(head, {}).get(metric), metric) for name in names]
            )
    return Table([f"{title_of(metric)} of", "requests", *names], rows)


def _probabilities(summary: Summary) -> Table:
    calibrated = {one["name"]: one.get("calibrated") for one in summary["variants"]}

    def called(head: str, name: str) -> str:
        known = calibrated.get(name)
        return f"{head}, {name}" + ("" if known is None or head in known else " (a score, no probability)")

    rows = [
        [
            called(head, name),
            f"{found['positives']:,} of {found['candidates']:,}",
            _cell(found["auc"], "auc"),
            _cell(found["gauc"], "gauc"),
            number(found["log_loss"]["value"], "log loss"),
            number(found["calibration_error"], "calibration error"),
            f"{_percent(found['predicted_rate'])} / {_percent(found['observed_rate'])}",
        ]
        for head in summary["heads"]
        for name, heads in summary["probabilities"].items()
        if (found := heads.get(head)) is not None and found["positives"]
    ]
    head = ["action, ranker", "positives", "AUC", "GAUC", "log loss", "calibration error", "predicted / observed rate"]
    return Table(head, rows)


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.2f} %"


def _variety(summary: Summary) -> Table:
    rows = []
    for name, found in summary["variety"].items():
        diverse = next((one for one in summary["metrics"][name][ALL] if one.startswith("diversity")), None)
        age = found["newest_action_age_ms_p50"]
        rows.append(
            [
                name,
                number(found["coverage"], "hit"),
                NONE if diverse is None else _cell(summary["metrics"][name][ALL][diverse], diverse),
                number(found["feeds_with_actions"], "hit"),
                NONE if age is None else _duration(age),
                number(found["user_vectors_found"], "hit"),
                f"{found['unknown_items']:,}",
            ]
        )
    head = ["ranker", "coverage", "diversity@10", "requests with known actions", "age of the newest (median)"]
    return Table([*head, "requests with a batch vector", "unknown items"], rows)


def _duration(ms: float) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if ms >= 2 * size:
            return f"{ms / size:,.0f} {unit}"
    return f"{ms:,.0f} ms"


def _replayed(summary: Summary) -> dict[str, str]:
    log, protocol, took = summary["log"], summary["protocol"], summary["time"]
    facts = {
        "log": f"{log['name']}: {log['events']:,} events, {log['first']} to {log['last']}",
        "protocol": f"{protocol['name']}: {protocol['about']}",
        "positive actions": ", ".join(protocol["positives"]),
        "ranked": f"{summary['requests']:,} of {protocol['requests_found']:,} requests from {protocol['from']}"
        + (f" until {protocol['until']}" if protocol["until"] else " on")
        + f", sampled with seed {protocol['seed']}",
        "candidates": f"{summary['candidates_median']:,.0f} (median)"
        + (
            f"; positives that are not in the catalogue: {summary['targets_unknown']:,}"
            if summary["targets_unknown"]
            else ""
        ),
        "time": f"{took['seconds']:,.1f} s, of which {took['ranking_seconds']:,.1f} s ranking; "
        f"{100 * took['scoring_share']:.0f} % of all was the model's scoring",
        "out of order": f"{log.get('out_of_order', 0):,} events came after later ones",
    }
    for path, about in summary["item_counts"].items():
        facts["item counts" if len(summary["item_counts"]) == 1 else f"item counts of {path}"] = about
    if protocol["sample"]:
        facts["sampled"] = f"{protocol['sample']:,} candidates a request; ranks are estimates for the whole catalogue"
    for nth, (reason, count) in enumerate(list(log["skipped"].items())[:REASONS], start=1):
        facts[f"skipped ({nth})"] = f"{count:,} rows: {reason}"
    for nth, (reason, count) in enumerate(list(log.get("ignored", {}).items())[:REASONS], start=1):
        facts[f"ignored ({nth})"] = f"{count:,}: {reason}"
    return facts


def _again(summary: Summary) -> dict[str, str]:
    made = summary["made"]
    facts = {"command": summary["command"], "log": f"{summary['log']['name']}, sha256 {summary['log']['checksum']}"}
    for path, found in summary["bundles"].items():
        facts[f"bundle {path}"] = f"model {found['model']}, manifest {found['checksum']}"
    facts["versions"] = ", ".join(f"{name} {one}" for name, one in made["versions"].items())
    return facts | {"machine": made["machine"], "made": made["at"]}
