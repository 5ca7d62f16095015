"""The plot of a run of the list: a panel a benchmark and unit, a row a contender, medians with their spread."""

from pathlib import Path

from benchmarks.report import Report, panels
from rankstream.metrics.drawing import GREYS, HUES, MARKERS, SMALL_PT, TITLE, WIDE_IN, figure, name_rows, write_svg

ROW_IN, AROUND_IN = 0.26, 0.85  # of a panel


def draw(report: Report, path: Path) -> bool:
    """Write it as an SVG file; return whether there was anything to compare."""
    drawn_panels = panels(report.outcomes)
    if not drawn_panels:
        return False
    heights = [AROUND_IN + ROW_IN * len(figures) for figures in drawn_panels.values()]
    drawn, grid = figure(WIDE_IN, sum(heights), nrows=len(heights), squeeze=False, height_ratios=heights)
    for axes, ((name, unit), figures) in zip(grid.ravel(), drawn_panels.items(), strict=True):
        for row, one in enumerate(figures):
            axes.plot([one.low, one.high], [row, row], color=GREYS[1], lw=3, solid_capstyle="butt")
            axes.plot(one.median, row, marker=MARKERS[0], color=HUES[0], ls="")
        name_rows(axes, [one.name for one in figures], narrow=False)
        axes.set_xlim(left=0)
        axes.set_ylim(len(figures) - 0.5, -0.5)
        axes.tick_params(labelsize=SMALL_PT)
        axes.set_title(f"{name}, {unit}", **TITLE)
    loads = f"load average {report.load_before:g} to {report.load_after:g}"
    write_svg(drawn, f"{report.title}, {report.begun_at}, {loads}", path)
    return True
