"""What a rival is given, and what it leaves: the ranks of its targets, and a note of what its training took."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankstream.evaluation.baselines.panel import MakeBaseline
from rankstream.evaluation.replay.own_scores import OwnScores, Scorer
from rankstream.evaluation.replay.variants import Variant
from rankstream.experiments.feed.product import Product
from rankstream.experiments.feed.replayed import replay_to
from rankstream.experiments.feed.task import Task


@dataclass(frozen=True)
class Entry:
    """A rival's part in one table."""

    row: str  # its name in the table
    task: Task
    product: Product  # the default training
    queries: int
    seed: int
    folder: Path  # of what it trains: the same for any number of queries

    @property
    def outcomes(self) -> Path:
        """Return where its ranks are written."""
        return self.folder / f"{self.folder.name}-{self.queries}.parquet"

    def replay(
        self,
        variants: Sequence[Variant] = (),
        scorer: Scorer | None = None,
        further: Sequence[MakeBaseline] = (),
    ) -> None:
        """Rank the table's queries, by a variant, a scorer or a baseline."""
        own = () if scorer is None else (OwnScores(scorer),)
        plan = replace(self.task.plan(self.queries, self.seed), own=own, further=tuple(further))
        replay_to(self.outcomes, self.task, plan, variants)


Rank = Callable[[Entry], str]  # trains, replays; returns a note of what was trained and how that ended


@dataclass(frozen=True)
class Rival:
    """One rival of the command line."""

    row: str  # its name in the table
    rank: Rank


def ranked_by(rival: Rival, entry: Entry) -> Mapping[str, Any]:
    """Let a rival rank, unless it has; return its note and its seconds, of a part that was killed not counted."""
    about = entry.outcomes.with_suffix(".json")
    if not (about.exists() and entry.outcomes.exists()):
        entry.folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        note = rival.rank(entry)
        about.write_text(json.dumps({"note": note, "seconds": round(time.monotonic() - started, 1)}))
    found: Mapping[str, Any] = json.loads(about.read_text())
    return found
