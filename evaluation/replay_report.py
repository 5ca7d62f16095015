"""What came of a replay, for people and for programs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.outcomes import ALL


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Print the main figures, what may not be overlooked, and the verdicts."""
    figure = summary["main_figure"]
    table = Table("ranked by", figure, "95 %")
    for lane, heads in summary["figures"].items():
        one = heads[ALL][figure]
        table.add_row(lane, f"{one['value']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}")
    console.print(table)
    for line in [*summary["marks"], *summary["verdicts"]]:
        console.print(line, highlight=False)


def write_report(summary: Mapping[str, Any], folder: Path) -> Path:
    """Write ``report.json``; give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return path
