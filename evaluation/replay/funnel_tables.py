"""The funnel's tables as text, for the terminal and the page: what was found and ranked, and what each source did."""

from collections.abc import Sequence
from dataclasses import dataclass

from rankstream.evaluation.baselines.popularity import POPULARITY
from rankstream.evaluation.replay.funnel import ADDED_BY, FIRST_BY, FOUND, FOUND_BY, HIT_BY
from rankstream.evaluation.replay.item_ages import YOUNG_DAYS, YOUNG_SHOWN, YOUNG_WANTED
from rankstream.evaluation.replay.summary import ALL_ITEMS
from rankstream.evaluation.replay.wording import (
    Metric,
    Summary,
    against_best,
    rankers,
    stacked,
    title_of,
    with_interval,
)


@dataclass(frozen=True)
class TextTable:
    """Titles of columns, of which the first ones are names, and rows of cells."""

    names: Sequence[str]
    numbers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str

    @property
    def titles(self) -> list[str]:
        """Return the titles of all columns."""
        return [*self.names, *self.numbers]


def ranked_table(summary: Summary) -> TextTable:
    """Return what share of the wanted items each ranker found, and what came of it, by part of the items."""
    last = summary["ks"][-1]
    metrics = (FOUND, f"hit@{last}", f"ndcg@{last}", YOUNG_SHOWN, YOUNG_WANTED)
    rows = []
    for name in shown_rankers(summary):
        for part in summary["funnel"][f"hit@{last}"].get(name, ()):
            cells = [_cell(summary, metric, name, part["items"]) for metric in metrics]
            rows.append([name, part["items"], f"{part['requests']:,}", *cells])
    limit = summary["protocol"]["limit"]
    titles = ["requests", f"recall@{limit}", *map(title_of, metrics[1:3])]
    young = [f"younger than {YOUNG_DAYS} d\nof the first 10", f"younger than {YOUNG_DAYS} d\nof the wanted"]
    title = "what retrieval found of the wanted items, and what ranking made of it"
    return TextTable(["ranked by", "items"], [*titles, *young], rows, title)


def sources_table(summary: Summary) -> TextTable:
    """Return what share of the wanted items each source finds alone, what it adds, and what is first and hit by it."""
    parts = parts_of(summary)
    rows = []
    for name in rankers(summary):
        for source in sources_of(summary, name):
            cells = [_cell(summary, kind + source, name, part) for kind in (FOUND_BY, ADDED_BY) for part in parts]
            cells += [_cell(summary, kind + source, name, ALL_ITEMS) for kind in (FIRST_BY, HIT_BY)]
            rows.append([name, source, *cells])
    titles = [f"{kind}\n{part}" for kind in ("finds alone", "adds") for part in parts]
    titles += ["of the first 10", "HIT@10 by it"]
    limit = summary["protocol"]["limit"]
    title = f"what each source finds with all {limit:,} places, and what is found less without it"
    return TextTable(["ranked by", "source"], titles, rows, title)


def shown_rankers(summary: Summary) -> list[str]:
    """Return the variants, popularity, and the baseline that does best."""
    best = against_best(summary, rankers(summary)[0])
    named = [*rankers(summary), POPULARITY, *([] if best is None else [str(best["baseline"])])]
    known = summary["funnel"].get(f"hit@{summary['ks'][-1]}", {})
    return [name for name in dict.fromkeys(named) if name in known]


def sources_of(summary: Summary, ranker: str) -> list[str]:
    """Return the sources that proposed anything, those that add most first."""
    named = {metric.removeprefix(ADDED_BY): found for metric, found in summary["funnel"].items() if ADDED_BY in metric}
    added = {source: found[ranker][0]["value"] or 0.0 for source, found in named.items() if ranker in found}
    return sorted(added, key=lambda source: (-added[source], source))


def parts_of(summary: Summary) -> list[str]:
    """Return the parts of the items."""
    return [str(part["items"]) for part in next(iter(summary["funnel"][FOUND].values()))]


def part_of(summary: Summary, metric: str, ranker: str, items: str) -> Metric | None:
    """Return a ranker's metric of a part of the items; None where it has none."""
    found = summary["funnel"].get(metric, {}).get(ranker, ())
    return next((one for one in found if one["items"] == items), None)


def _cell(summary: Summary, metric: str, ranker: str, items: str) -> str:
    return stacked(with_interval(part_of(summary, metric, ranker, items), metric))
