"""How plots of metrics look: inks that everybody can tell apart, on white and on dark paper, in one SVG for both.

A plot is drawn in the inks of light paper. ``dark_style`` maps each to its twin on dark paper, for readers who prefer
that; a viewer that knows no stylesheets shows the light plot. Texts stay texts, so that they can be searched and read
aloud. The hues are those of Okabe and Ito (2008), each lighter or darker, so that it has a contrast of 3 to 1 to its
paper and keeps apart from the others for the colour-blind too; what a hue says, a marker says again. Needs matplotlib
only where it draws.
"""

import html
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HUES = ("#0072b2", "#964200", "#007958", "#c0729d", "#bd8300")  # blue, vermilion, green, purple, ochre
GREYS = ("#34383c", "#7b8694")  # baselines
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, SOFT, GRID, PAPER = "#1c2430", "#4a5462", "#d9dee5", "#ffffff"
DARK: Mapping[str, str] = {
    **dict(zip(HUES, ("#4b9cc9", "#af4d00", "#3cb594", "#edd0e0", "#e9aa1e"), strict=True)),
    **dict(zip(GREYS, ("#767f8a", "#b4bdc8"), strict=True)),
    INK: "#e6eaf0",
    SOFT: "#b7c0cc",
    GRID: "#333d4a",
    PAPER: "#14181e",
}

WIDE_IN, NARROW_IN = 8.2, 3.6  # inches of a plot on a screen, and on a phone
SMALL_PT = 8.5  # the smallest letters; on a phone a point of a narrow plot is 1.2 pixels

TITLE: Mapping[str, Any] = {"loc": "left", "fontsize": 9.5, "color": INK}  # of `set_title`

FAMILY = re.compile(r"font: ([^;\"]*?(?:px|pt|medium|small)) [^;\"]*")


def figure(width: float, height: float, **kind: Any) -> tuple[Any, Any]:
    """Return a figure of ``width`` x ``height`` inches and its axes; ``kind`` goes to matplotlib's ``subplots``."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    axes = drawn.subplots(**kind)
    for one in axes.ravel() if hasattr(axes, "ravel") else [axes]:
        one.set_facecolor("none")
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(SOFT)
        one.tick_params(color=SOFT, labelcolor=INK, labelsize=SMALL_PT)
        one.grid(color=GRID, linewidth=0.8)
        one.set_axisbelow(True)
        for label in (one.xaxis.label, one.yaxis.label):
            label.set(color=INK, fontsize=9)
    return drawn, axes


def legend_above(drawn: Any, axes: Any, columns: int = 2) -> None:
    """Name what ``axes`` show, above the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        options = {"fontsize": SMALL_PT, "frameon": False, "labelcolor": INK}
        drawn.legend(handles, labels, loc="outside upper left", ncols=columns, **options)


def name_rows(axes: Any, labels: list[str], narrow: bool, above_pt: int = 7) -> None:
    """Name the rows 0, 1, ... of a horizontal plot: beside the axis, or ``above_pt`` points above them if narrow."""
    if not narrow:
        axes.set_yticks(range(len(labels)), labels)
        return
    axes.set_yticks(range(len(labels)), [""] * len(labels))
    axes.grid(visible=False, axis="y")
    behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}  # lines of the grid would cross the letters
    for row, label in enumerate(labels):
        at = {
            "xy": (0, row),
            "xycoords": ("axes fraction", "data"),
            "xytext": (3, above_pt),
            "textcoords": "offset points",
        }
        axes.annotate(label, **at, fontsize=SMALL_PT, color=INK, va="bottom", bbox=behind)


def svg_of(drawn: Any, label: str, salt: str = "") -> str:
    """Return a figure as an ``<svg>`` element with ``label`` as its text alternative; the same for the same figure."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": label + salt, "svg.fonttype": "none"}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = FAMILY.sub(r"font: \1 system-ui, sans-serif", svg[svg.index("<svg") :]).replace("#000000", INK)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<text[^>]*style=")(?![^"]*fill:)', rf"\1fill: {INK}; ", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def dark_style() -> str:
    """Return the rules of a stylesheet that turn each ink into its twin on dark paper.

    They name no ancestor: what a ``<use>`` repeats, as markers are, has none that a selector could see.
    """
    return "\n".join(
        f'[style*="{side}: {light}"] {{ {side}: {dark} !important }}'
        for light, dark in DARK.items()
        for side in ("fill", "stroke")
    )


def write_svg(drawn: Any, label: str, path: Path) -> None:
    """Write a figure as a file that follows the reader's colour scheme."""
    svg = svg_of(drawn, label, path.stem)
    style = f"<style>\n@media (prefers-color-scheme: dark) {{\n{dark_style()}\n}}\n</style>"
    head, end = svg.split(">", 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{head}>\n {style}{end}', encoding="utf-8")


@contextmanager
def drawing(path: Path, label: str, width: float, height: float) -> Iterator[Any]:
    """Yield axes; write them to ``path`` afterwards."""
    drawn, axes = figure(width, height)
    yield axes
    write_svg(drawn, label, path)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours ``#rrggbb``, 1 to 21, as WCAG 2 defines it."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    shares = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
