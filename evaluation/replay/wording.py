"""What the figures of a replay say, in words: for the page, the terminal, and whoever reads only the first sentence."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.run import POPULARITY, RANDOM
from rankstream.evaluation.time_text import delay_text

Summary = Mapping[str, Any]
Figure = Mapping[str, Any]  # value, low, high, points

SHARES = ("hit", "recall")  # figures that are shares, and read as per cent
NONE = "–"
MEANINGS = {
    "hit@k": "share of the requests in which something that the user then wanted stood among the first k",
    "recall@k": "share of what the user then wanted that stood among the first k",
    "ndcg@k": "the same with more credit for higher places: 1 is the best order there is",
    "mrr": "one over the place of the first wanted item, on average: 1 is always first, 0.1 tenth",
    "auc": "how often a shown item that was acted on has the higher probability than one that was not; 0.5 is chance",
    "gauc": "the same within each user, weighted by what was shown to them: who is active does not count",
    "log loss": "how far the probabilities are from what came; lower is better",
    "calibration error": "mean distance between probability and what came of it, in bins of equally many",
    "coverage": "share of the catalogue that stood among the first 10 of any request",
    "diversity@10": "mean cosine distance of the first 10 items' vectors: 0 all alike",
    "interval": "95 %: users, not requests, drawn anew; differences are paired request by request",
    "popularity": "the order by how often each item was wanted until the last full hour; random order is exact",
}


def is_share(figure: str) -> bool:
    """Return whether a figure reads as per cent."""
    return figure.partition("@")[0] in SHARES


def number(value: float | None, figure: str) -> str:
    """Write a figure's value."""
    if value is None or not isfinite(value):
        return NONE
    return f"{100 * value:.1f} %" if is_share(figure) else f"{value:.3f}"


def with_interval(found: Figure | None, figure: str) -> str:
    """Write a value and its interval."""
    if found is None or not isfinite(_known(found["value"])):
        return NONE
    low, high = (_known(found[side]) for side in ("low", "high"))
    if not isfinite(low + high) or high - low < 1e-4:
        return number(found["value"], figure)
    if is_share(figure):
        return f"{100 * found['value']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    return f"{found['value']:.3f} ({low:.3f} to {high:.3f})"


def stacked(text: str) -> str:
    """Put the interval of ``with_interval`` or ``difference`` on a line of its own, for a cell of a table."""
    return text.replace(" (", "\n").replace(")", "")


def difference(found: Figure, figure: str) -> str:
    """Write a difference and its interval; of shares, in percentage points."""
    if not isfinite(_known(found["value"])):
        return NONE
    scale, places, unit = (100, 1, " points") if is_share(figure) else (1, 3, "")
    value, low, high = (scale * _known(found[side]) for side in ("value", "low", "high"))
    return f"{value:+.{places}f}{unit} ({low:+.{places}f} to {high:+.{places}f})"


def _known(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def title_of(figure: str) -> str:
    """Write a figure's name as its field writes it."""
    return figure.upper() if figure.partition("@")[0] in ("hit", "ndcg", "mrr") else figure


def rankers(summary: Summary) -> list[str]:
    """Return the names of the lanes, in order."""
    return [str(variant["name"]) for variant in summary["lanes"]]


def against(summary: Summary, other: str, head: str = ALL, figure: str | None = None) -> Figure | None:
    """Return how far the first lane is ahead of another one."""
    wanted = (other, head, figure or summary["main_figure"])
    found = (one for one in summary["differences"] if (one["against"], one["head"], one["figure"]) == wanted)
    return next(found, None)


def verdicts(summary: Summary) -> list[str]:
    """Return what the replay comes to, the most asked-for comparison first; the last sentence says of how much."""
    return [*_freshness(summary), *_of_bundles(summary), *_of_baselines(summary), _measured_on(summary)]


def _measured_on(summary: Summary) -> str:
    unit = f"{summary['points']:,} requests of {summary['users']:,} users"
    said = f"Measured on {unit}, with about {summary['candidates_median']:,.0f} candidates each"
    sample, unknown = summary["protocol"]["sample"], summary["targets_unknown"]
    if sample:
        said += f"; estimates: {sample:,} of them were drawn, and places scaled up to all"
    if unknown:
        said += f"; in {unknown:,} requests the wanted item is not in the catalogue, so nobody could find it"
    return said + "."


def _freshness(summary: Summary) -> list[str]:
    """Compare the first bundle with itself as stale as was asked for; say from which delay on a loss is clear."""
    figure, curve = summary["main_figure"], summary["staleness"].get(str(summary["lanes"][0]["bundle"]), [])
    fresh, *late = curve or [None]
    behind = [(one, found) for one in late if (found := against(summary, str(one["lane"]))) is not None]
    if not behind or fresh["lane"] != summary["lanes"][0]["name"]:
        return []
    losing = [one for one, found in behind if _sign(found) > 0]
    told, found = next((pair for pair in reversed(behind) if pair[0] in losing), behind[-1])
    how_late = "without them" if told["delay_ms"] is None else f"known {delay_text(told['delay_ms'])} late"
    said = [
        f"{_opening(losing, late, found)}: with the actions of the last moments, {title_of(figure)} is "
        f"{number(fresh['value'], figure)}; {how_late}, {number(told['value'], figure)} ({_by(found, figure)})."
    ]
    if losing and losing[0] is not told and losing[0] is late[0]:
        said.append(
            f"Already {delay_text(late[0]['delay_ms'])} late, it is clearly worse ({_by(behind[0][1], figure)})."
        )
    elif losing and losing[0] is not late[0]:
        place = late.index(losing[0]) - 1
        said.append(f"Up to {delay_text(late[place]['delay_ms'])} late, no clear loss is shown.")
    return said


def _opening(losing: Sequence[Figure], late: Sequence[Figure], found: Figure) -> str:
    if not losing:
        return "Realtime does not pay here" if _sign(found) < 0 else "This replay does not show that realtime pays"
    if losing[0] is late[0]:
        return "Realtime pays here"
    return "Knowing what users did pays here, but no gain shows from knowing it at once"


def _of_bundles(summary: Summary) -> list[str]:
    """Compare the first lane with the first of each other bundle."""
    seen, said = {summary["lanes"][0]["bundle"]}, []
    for variant in summary["lanes"]:
        found = against(summary, str(variant["name"])) if variant["bundle"] not in seen else None
        seen.add(variant["bundle"])
        if found is not None:
            said.append(_compared(summary, found))
    won = summary.get("interleaving")
    if won:
        said.append(
            f"In feeds mixed from both, {rankers(summary)[0]} won {won['wins']:,} and lost {won['losses']:,} requests "
            f"({won['ties']:,} were even): {number(won['value'], 'hit')} of the credit "
            f"({100 * won['low']:.1f} to {100 * won['high']:.1f}; 50 % is no difference)."
        )
    return said


def _of_baselines(summary: Summary) -> list[str]:
    found = [against(summary, name) for name in (POPULARITY, RANDOM)]
    return [_compared(summary, one) for one in found if one is not None]


def _compared(summary: Summary, found: Figure) -> str:
    figure = summary["main_figure"]
    word = {1: "better than", 0: "not clearly different from", -1: "worse than"}[_sign(found)]
    mine, theirs = (summary["figures"][name][ALL][figure]["value"] for name in (rankers(summary)[0], found["against"]))
    return (
        f"{rankers(summary)[0]} is {word} {found['against']}: {title_of(figure)} {number(mine, figure)} to "
        f"{number(theirs, figure)} ({_by(found, figure)})."
    )


def _by(found: Figure, figure: str) -> str:
    value, low_to_high = stacked(difference(found, figure)).split("\n")
    return f"a difference of {value}, interval {low_to_high}"


def _sign(found: Figure) -> int:
    """Return 1 where the whole interval is above zero, -1 where it is below."""
    return int(_known(found["low"]) > 0) - int(_known(found["high"]) < 0)


def shown_variants(summary: Summary, maximum: int = 4) -> list[str]:
    """Choose the lanes that a crowded plot shows: the first of each bundle, the stalest of the first, popularity."""
    first_of_each: dict[str, str] = {}
    for variant in summary["lanes"]:
        first_of_each.setdefault(str(variant["bundle"]), str(variant["name"]))
    chosen = [*first_of_each.values()]
    stale: Sequence[Figure] = summary["staleness"].get(str(summary["lanes"][0]["bundle"]), [])
    chosen += [str(stale[-1]["lane"])] if stale else []
    return [*list(dict.fromkeys(chosen))[: maximum - 1], POPULARITY]
