"""The dashboard as a picture for the docs: its JSON, with what a running Prometheus answers to each of its queries.

    python -m docs.dashboard_picture http://127.0.0.1:9090 --minutes 8 --out docs/plots/dashboard.svg

Grafana draws the same panels at the same places in its own manner; this needs no Grafana, and shows what it would show.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rankstream.metrics.drawing import GREYS, GRID, HUES, INK, PAPER, SMALL_PT, SOFT, write_svg

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana" / "rankstream.json"
STEP_S = 15
COLUMN_IN, ROW_IN = 0.5, 0.26  # of Grafana's grid
SHOWN_SERIES = 6  # of a legend

Ask = Callable[[str], list[dict[str, Any]]]  # a query -> the series of its answer


@dataclass(frozen=True)
class Span:
    """From when to when, s since 1970."""

    begin: float
    end: float


def prometheus(address: str, span: Span) -> Ask:
    """Return what asks a Prometheus for so much time."""

    def ask(query: str) -> list[dict[str, Any]]:
        told = urlencode({"query": query, "start": span.begin, "end": span.end, "step": STEP_S})
        with urlopen(f"{address}/api/v1/query_range?{told}", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    return ask


def legend(form: str, labels: Mapping[str, str]) -> str:
    """Return the text of a series, as Grafana makes it of ``{{label}}``."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), form)


def amount(unit: str, value: float) -> str:
    """Return a value of one of Grafana's units."""
    if unit == "s" and value < 86_400:
        return f"{1000 * value:g} ms" if value < 1 else f"{value:g} s"
    if unit == "s":
        return f"{value / 86_400:,.0f} d"
    if unit == "percentunit":
        return f"{100 * value:g} %"
    if unit == "bytes":
        return f"{value / (1 << 20):.0f} MiB"
    return f"{value:g}" + {"ops": "/s", "reqps": "/s"}.get(unit, "")


def draw(dashboard: Mapping[str, Any], ask: Ask, span: Span) -> Figure:
    """Return the figure of all panels, each at its place."""
    panels = dashboard["panels"]
    rows = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels)
    drawn = Figure(figsize=(24 * COLUMN_IN, rows * ROW_IN), facecolor=PAPER)
    for one in panels:
        at = one["gridPos"]
        left, top = at["x"] / 24, 1 - at["y"] / rows
        if one["type"] == "row":
            drawn.text(0.012, top - 0.8 / rows, one["title"], color=INK, fontsize=11, fontweight="bold")
            continue
        box = (left + 0.045, top - (at["h"] - 2.2) / rows, at["w"] / 24 - 0.06, (at["h"] - 3.6) / rows)
        _panel(drawn.add_axes(box), one, ask, span)
    return drawn


def _panel(axes: Any, panel: Mapping[str, Any], ask: Ask, span: Span) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    shown = 0
    for target in panel["targets"]:
        for series in ask(target["expr"].replace("$__rate_interval", "1m")):
            points = [(float(at) - span.end, float(value)) for at, value in series["values"] if value != "NaN"]
            if points:
                ink = (*HUES, *GREYS)[shown % (len(HUES) + len(GREYS))]
                name = legend(target["legendFormat"], series["metric"]) or "all"
                label = name if shown < SHOWN_SERIES else "_"
                axes.plot(*zip(*points, strict=True), color=ink, lw=1.3, label=label)
                shown += 1
    _dress(axes, panel["title"], unit, span)
    if shown:
        place = {"loc": "upper left", "bbox_to_anchor": (-0.1, -0.16), "ncols": 3 if panel["gridPos"]["w"] > 6 else 2}
        axes.legend(**place, fontsize=7, frameon=False, labelcolor=INK, handlelength=1, columnspacing=1)
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color=SOFT, fontsize=SMALL_PT)


def _dress(axes: Any, title: str, unit: str, span: Span) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.set_xlim(span.begin - span.end, 0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(unit, value)))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 60:g} min" if value else "now"))
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(color=SOFT, labelcolor=INK, labelsize=7)
    axes.grid(color=GRID, linewidth=0.7)


def main(words: Sequence[str] | None = None) -> None:
    """Draw it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("prometheus", help="its address")
    options.add_argument("--minutes", type=float, default=8.0)
    options.add_argument("--until", type=float, default=time.time(), help="s since 1970")
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "plots" / "dashboard.svg")
    chosen = options.parse_args(words)
    span = Span(chosen.until - 60 * chosen.minutes, chosen.until)
    figure = draw(json.loads(DASHBOARD.read_text()), prometheus(chosen.prometheus, span), span)
    write_svg(figure, "The dashboard of rankstream", chosen.out)


if __name__ == "__main__":
    main()
