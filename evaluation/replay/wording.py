"""The metrics of a replay in words: for the page, the terminal, and whoever reads only the first sentence."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.time_text import delay_text

Summary = Mapping[str, Any]
Metric = Mapping[str, Any]  # value, low, high, requests

SHARES = ("hit", "recall", "capped_recall")  # metrics that are shares, and read as per cent
OF_FUNNEL = ("found", "added by ", "first 10 by ", "hit by ", "young ")  # how further ones begin
NONE = "–"
MEANINGS = {
    "positive": "an item on which the user then did a positive action; the others are negatives",
    "hit@k": "share of the requests with a positive among the first k",
    "recall@k": "share of the positives that were among the first k",
    "capped_recall@k": "the same, of as many as fit there: min(k, positives)",
    "ndcg@k": "discounted gain: positives count more the higher they rank; 1 is the best order there is",
    "mrr": "mean of 1 / rank of the first positive: 1 if it is always first, 0.1 if it is tenth",
    "auc": "how often a positive has a higher probability than a negative; 0.5 is random",
    "gauc": "the same within each user, weighted by what was shown to each: differences between users do not count",
    "log loss": "mean of -log of the probability of what happened; lower is better",
    "calibration error": "mean distance between predicted and observed rate, in 10 bins of equally many candidates",
    "coverage": "share of the catalogue that was among the first 10 of any request",
    "diversity@10": "mean cosine distance between the vectors of the first 10 items: 0 if all are alike",
    "interval": "95 %, by a bootstrap that resamples users, not requests; differences are paired request by request",
    "baselines": "need no training; they know what had arrived before the request, without a delay, and go on learning "
    "while the log is replayed; equal scores rank by popularity, then at random",
    "best baseline": "the one with the highest metric on these very requests, which favours the baselines a little",
}

MEANINGS_OF_FUNNEL = {
    "warm, cold": "warm items were seen before the replayed part and trained on; cold are all others: new ones, first "
    "seen in the replayed part, and withheld ones, seen before but in no training",
    "recall@limit": "share of the wanted items among as many as retrieval proposes; of a baseline, among as many of "
    "its own order",
    "finds alone": "the same, of one source that has all places",
    "adds": "how much less is found where that source is left out and the others have its places; below 0 they find "
    "more in them",
    "HIT@10 by it": "the share of the requests with a wanted item among the first 10 that the feed says this source "
    "proposed; of several sources it is the one that counts most for the item",
    "younger than 7 d": "by the catalogue's created_at_ms, else since the log first held an action on the item",
}


def is_share(metric: str) -> bool:
    """Return whether a metric reads as per cent."""
    return metric.partition("@")[0] in SHARES or metric.startswith(OF_FUNNEL)


def number(value: float | None, metric: str) -> str:
    """Write a metric's value."""
    if value is None or not isfinite(value):
        return NONE
    return f"{100 * value:.1f} %" if is_share(metric) else f"{value:.3f}"


def with_interval(found: Metric | None, metric: str) -> str:
    """Write a value and its interval."""
    if found is None or not isfinite(_known(found["value"])):
        return NONE
    low, high = (_known(found[side]) for side in ("low", "high"))
    if not isfinite(low + high) or high - low < 1e-4:
        return number(found["value"], metric)
    if is_share(metric):
        return f"{100 * found['value']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    return f"{found['value']:.3f} ({low:.3f} to {high:.3f})"


def stacked(text: str) -> str:
    """Put the interval of ``with_interval`` or ``difference`` on a line of its own, for a cell of a table."""
    return text.replace(" (", "\n").replace(")", "")


def difference(found: Metric, metric: str) -> str:
    """Write a difference and its interval; of shares, in percentage points."""
    if not isfinite(_known(found["value"])):
        return NONE
    scale, decimals, unit = (100, 1, " points") if is_share(metric) else (1, 3, "")
    value, low, high = (scale * _known(found[side]) for side in ("value", "low", "high"))
    return f"{value:+.{decimals}f}{unit} ({low:+.{decimals}f} to {high:+.{decimals}f})"


def _known(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def title_of(metric: str) -> str:
    """Write a metric's name as papers write it."""
    return metric.upper() if metric.partition("@")[0] in ("hit", "ndcg", "mrr") else metric


def rankers(summary: Summary) -> list[str]:
    """Return the names of the variants, in order."""
    return [str(variant["name"]) for variant in summary["variants"]]


def baselines_of(summary: Summary) -> list[str]:
    """Return the names of the baselines, in order."""
    return [str(one["name"]) for one in summary["baselines"]]


def meanings_of(summary: Summary) -> dict[str, str]:
    """Return what the metrics mean, and what each baseline ranks by."""
    return (
        MEANINGS
        | (MEANINGS_OF_FUNNEL if summary["funnel"] else {})
        | {str(one["name"]): str(one["about"]) for one in summary["baselines"]}
    )


def against_best(summary: Summary, variant: str, head: str = ALL, metric: str | None = None) -> Metric | None:
    """Return how far a variant is ahead of the best baseline."""
    key = (variant, head, metric or summary["main_metric"])
    found = (one for one in summary["against_best_baseline"] if (one["variant"], one["head"], one["metric"]) == key)
    return next(found, None)


def lead_over(summary: Summary, other: str, head: str = ALL, metric: str | None = None) -> Metric | None:
    """Return how far the first variant is ahead of another one."""
    key = (other, head, metric or summary["main_metric"])
    found = (one for one in summary["differences"] if (one["baseline"], one["head"], one["metric"]) == key)
    return next(found, None)


def verdicts(summary: Summary) -> list[str]:
    """Return the verdict in sentences, the most useful comparison first; the last one says what was measured."""
    if 0 < summary["requests"] == summary["targets_unknown"]:
        return [
            "Nothing can be said: of all items that these requests are about, the catalogue knows none. Is this the "
            "bundle of this log, and are the ids written as in its training?",
            _measured_on(summary),
        ]
    return [*_freshness(summary), *_of_bundles(summary), *_of_baselines(summary), _measured_on(summary)]


def _measured_on(summary: Summary) -> str:
    unit = f"{summary['requests']:,} requests of {summary['users']:,} users"
    sentence = f"Measured on {unit}, with about {summary['candidates_median']:,.0f} candidates each"
    sample, unknown = summary["protocol"]["sample"], summary["targets_unknown"]
    if sample:
        sentence += (
            f", {sample:,} of them sampled at random, so the ranks are those in the sample, not in the catalogue"
        )
    if unknown:
        sentence += f"; in {unknown:,} requests the positive is not in the catalogue, so no ranker could find it"
    return sentence + "."


def _freshness(summary: Summary) -> list[str]:
    """Compare the first bundle with itself at each delay; say from which delay on a loss is clear."""
    metric, curve = summary["main_metric"], summary["staleness"].get(str(summary["variants"][0]["bundle"]), [])
    fresh, *late = curve or [None]
    behind = [(one, found) for one in late if (found := lead_over(summary, str(one["variant"]))) is not None]
    if not behind or fresh["variant"] != summary["variants"][0]["name"]:
        return []
    losing = [one for one, found in behind if _sign(found) > 0]
    stale, found = next((pair for pair in reversed(behind) if pair[0] in losing), behind[-1])
    how_late = "without them" if stale["delay_ms"] is None else f"known {delay_text(stale['delay_ms'])} late"
    sentences = [
        f"{_opening(losing, late, found)}: with the newest actions known, {title_of(metric)} is "
        f"{number(fresh['value'], metric)}; {how_late}, {number(stale['value'], metric)} ({_by(found, metric)})."
    ]
    if losing and losing[0] is not stale and losing[0] is late[0]:
        sentences.append(
            f"Already {delay_text(late[0]['delay_ms'])} late, it is clearly worse ({_by(behind[0][1], metric)})."
        )
    elif losing and losing[0] is not late[0]:
        before = late[late.index(losing[0]) - 1]
        sentences.append(f"Up to {delay_text(before['delay_ms'])} late, no clear loss is shown.")
    return sentences


def _opening(losing: Sequence[Metric], late: Sequence[Metric], found: Metric) -> str:
    if not losing:
        return "Realtime does not pay here" if _sign(found) < 0 else "This replay does not show that realtime pays"
    if losing[0] is late[0]:
        return "Realtime pays here"
    return "Knowing what users did pays here, but no gain shows from knowing it at once"


def _of_bundles(summary: Summary) -> list[str]:
    """Compare the first variant with the first of each other bundle."""
    seen, sentences = {summary["variants"][0]["bundle"]}, []
    for variant in summary["variants"]:
        found = lead_over(summary, str(variant["name"])) if variant["bundle"] not in seen else None
        seen.add(variant["bundle"])
        if found is not None:
            sentences.append(_compared(summary, found))
    won = summary.get("interleaving")
    if won:
        sentences.append(
            f"In interleaved feeds, {rankers(summary)[0]} won {won['wins']:,} and lost {won['losses']:,} requests "
            f"({won['ties']:,} were even): {number(won['value'], 'hit')} of the credit "
            f"({100 * won['low']:.1f} to {100 * won['high']:.1f}; 50 % is no difference)."
        )
    return sentences


def _of_baselines(summary: Summary) -> list[str]:
    """Compare the first variant of each bundle with the best baseline; by other metrics too where it does worse."""
    of_bundle: dict[str, str] = {}
    for variant in summary["variants"]:
        of_bundle.setdefault(str(variant["bundle"]), str(variant["name"]))
    sentences = []
    for name in of_bundle.values():
        found = against_best(summary, name)
        others = [against_best(summary, name, metric=metric) for metric in (f"ndcg@{summary['ks'][-1]}", "mrr")]
        worse = [one for one in others if one is not None and found is not None and _sign(one) < min(1, _sign(found))]
        sentences += [_beside_best(summary, one) for one in (found, *worse) if one is not None]
    return sentences


def _beside_best(summary: Summary, found: Metric) -> str:
    name, best, metric = found["variant"], found["baseline"], found["metric"]
    mine, theirs = (number(summary["metrics"][one][ALL][metric]["value"], metric) for one in (name, best))
    scale, decimals, unit = (100, 1, " points") if is_share(metric) else (1, 3, "")
    value, low, high = (scale * _known(found[side]) for side in ("value", "low", "high"))
    which = f"the best of {len(summary['baselines'])} baselines"
    if _sign(found) == 0:
        return (
            f"{name} is not clearly different from {best}, {which}: {title_of(metric)} {mine} against {theirs}, "
            f"{value:+.{decimals}f}{unit} [{low:+.{decimals}f}, {high:+.{decimals}f}]."
        )
    word = "beats" if value > 0 else "loses to"
    low, high = sorted((abs(low), abs(high)))
    return (
        f"{name} {word} {best}, {which}, by {abs(value):.{decimals}f}{unit} [{low:.{decimals}f}, {high:.{decimals}f}] "
        f"of {title_of(metric)}: {mine} against {theirs}."
    )


def _compared(summary: Summary, found: Metric) -> str:
    metric = summary["main_metric"]
    word = {1: "better than", 0: "not clearly different from", -1: "worse than"}[_sign(found)]
    mine, theirs = (summary["metrics"][name][ALL][metric]["value"] for name in (rankers(summary)[0], found["baseline"]))
    return (
        f"{rankers(summary)[0]} is {word} {found['baseline']}: {title_of(metric)} {number(mine, metric)} against "
        f"{number(theirs, metric)} ({_by(found, metric)})."
    )


def _by(found: Metric, metric: str) -> str:
    value, low_to_high = stacked(difference(found, metric)).split("\n")
    return f"a difference of {value}, interval {low_to_high}"


def _sign(found: Metric) -> int:
    """Return 1 where the whole interval is above zero, -1 where it is below."""
    return int(_known(found["low"]) > 0) - int(_known(found["high"]) < 0)


def shown_variants(summary: Summary, maximum: int = 4) -> list[str]:
    """Choose the variants of a crowded plot: the first of each bundle, the stalest of the first, the best baseline."""
    first_of_each: dict[str, str] = {}
    for variant in summary["variants"]:
        first_of_each.setdefault(str(variant["bundle"]), str(variant["name"]))
    chosen = [*first_of_each.values()]
    stale: Sequence[Metric] = summary["staleness"].get(str(summary["variants"][0]["bundle"]), [])
    chosen += [str(stale[-1]["variant"])] if stale else []
    best = against_best(summary, chosen[0])
    return [*list(dict.fromkeys(chosen))[: maximum - 1], *([] if best is None else [str(best["baseline"])])]
