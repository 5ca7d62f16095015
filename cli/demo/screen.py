"""What a person sees while the demo runs: stages done, the current stage, and the metrics so far."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from rankstream.cli.demo.scoreboard import HYBRID, RANKERS, Scoreboard
from rankstream.cli.views.table import Facts, Table, names, numbers


class Stages:
    """Numbered stages, one line each: a bar where the length is known, the time that each took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.took_s: dict[str, float] = {}

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Print a stage, and how long it took."""
        begun = monotonic()
        self.console.print(Text.assemble(("● ", "cyan"), (title, "bold")))
        yield
        self.took_s[title] = monotonic() - begun
        self.console.print(Text(f"  done in {self.took_s[title]:.1f} s", style="dim"))

    def note(self, text: str) -> None:
        """Print one more line about the current stage."""
        self.console.print(Text(f"  {text}"), highlight=False)


def bar(console: Console) -> Progress:
    """Return a progress bar in the demo's style."""
    columns = (TextColumn("  {task.description}"), BarColumn(32), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


class LiveScreen:
    """The metrics of the live stage, drawn a few times a second."""

    def __init__(self, console: Console, total_actions: int) -> None:
        self._progress = bar(console)
        self._task: TaskID = self._progress.add_task("live traffic", total=total_actions)
        self._live = Live(console=console, refresh_per_second=5, transient=not console.is_terminal)
        self._begun = monotonic()

    def __enter__(self) -> "LiveScreen":
        self._begun = monotonic()
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, board: Scoreboard, actions: int, state_bytes: int) -> None:
        """Draw the current metrics."""
        self._progress.update(self._task, completed=actions)
        rate = actions / max(monotonic() - self._begun, 1e-9)
        self._live.update(Group(self._progress, Panel(_metrics(board, rate, state_bytes), title="live", expand=False)))


def _metrics(board: Scoreboard, rate: float, state_bytes: int) -> RenderableType:
    latency = f"{board.latency_ms(0.5):,.0f} / {board.latency_ms(0.99):,.0f} ms"
    wire = {
        "events/s": f"{rate:,.0f}",
        "feeds, errors": f"{len(board.scored):,}, {board.errors}",
        "latency p50 / p99": latency,
        "age of newest action p50": f"{board.newest_age_ms(0.5):,.0f} ms",
        "knew the newest action": f"{board.fresh_share():.1%}",
        "state on disk": f"{state_bytes / 1e6:,.1f} MB",
    }
    return Group(Facts(wire), Text(), metrics_table(board))


def metrics_table(board: Scoreboard) -> Table:
    """Return HIT@10 and NDCG@10 so far, a row for each ranker."""
    rows = [
        [Text(cell, "bold green" if ranker == HYBRID else "") for cell in cells]
        for ranker in RANKERS
        for cells in [(ranker, f"{board.hit(ranker):.3f}", f"{board.ndcg(ranker):.3f}")]
    ]
    return Table([*names("ranked by"), *numbers("HIT@10", "NDCG@10")], rows)
