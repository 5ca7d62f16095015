"""The metrics of a replay with their intervals, as plain data: what the report draws and programs read.

Every interval is a bootstrap over users; every difference is paired by request.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rankstream.evaluation.interleaving import preference
from rankstream.evaluation.replay.funnel import FOUND, is_funnel
from rankstream.evaluation.replay.item_ages import YOUNG_SHOWN, YOUNG_WANTED
from rankstream.evaluation.replay.outcomes import ALL, Outcomes, Predictions
from rankstream.metrics.arrays import Bools, Floats, Ints
from rankstream.metrics.bootstrap import bootstrap_weights
from rankstream.metrics.probabilities import auc, auc_in_order, calibration, calibration_error, log_loss

Metric = dict[str, Any]  # value, low, high, requests

DAY_MS = 86_400_000
HISTORIES = ((0, 0), (1, 5), (6, 20), (21, 50), (51, 99), (100, 10**9))
HOURS = ((0, 6), (6, 12), (12, 18), (18, 24))
MAX_TIMES = 14  # on the axis of time
ALL_ITEMS, WARM, COLD = "all", "warm", "cold"  # parts of the funnel: which item was wanted
NEW, WITHHELD = "cold: new", "cold: withheld"  # first seen in the replayed part; seen before, and not trained on
RESAMPLES_AT_ONCE = 100
AUC_RESAMPLES = 300  # each walks all candidates
K = TypeVar("K")


def summarise(
    outcomes: Outcomes, variants: Sequence[Mapping[str, Any]], catalogue: int, seed: int = 1
) -> dict[str, Any]:
    """Return all metrics of a replay; ``variants`` holds of each: name, bundle, delay_ms (None: never), model.

    The first variant is the one that the others are compared with. See the functions below for the parts.
    """
    main = _main_metric(outcomes)
    first = str(variants[0]["name"])
    by_head = metrics_by_head(outcomes, seed)
    ahead = [one for k in outcomes.ks for one in differences(outcomes, first, f"hit@{k}", seed)]
    ahead += differences(outcomes, first, f"ndcg@{outcomes.ks[-1]}", seed)
    ahead += differences(outcomes, first, FOUND, seed)
    baselines = [name for name in outcomes.variants if name in outcomes.baselines]
    return {
        "main_metric": main,
        "requests": len(outcomes.queries),
        "users": len(set(_users(outcomes))),
        "heads": list(outcomes.heads),
        "ks": list(outcomes.ks),
        "candidates_median": _median([query.num_candidates for query in outcomes.queries]),
        "targets_unknown": sum(not query.target_known for query in outcomes.queries),
        "variants": [dict(variant) for variant in variants],
        "baselines": [{"name": name, "about": outcomes.baselines[name]} for name in baselines],
        "metrics": by_head,
        "probabilities": probabilities(outcomes, seed),
        "differences": ahead,
        "against_best_baseline": against_best_baseline(outcomes, by_head, seed),
        "verdicts": [verdict(one) for one in ahead if one["head"] == ALL and one["metric"] == main],
        "over_time": over_time(outcomes, main, seed),
        "slices": slices(outcomes, main, seed),
        "funnel": funnel(outcomes, seed),
        "variety": variety(outcomes, catalogue),
        "staleness": staleness(by_head, variants, main),
        "interleaving": interleaving(outcomes, seed),
    }


def _main_metric(outcomes: Outcomes) -> str:
    """Return HIT at the largest k that does not hold most of what there is to choose from; NDCG if every k does."""
    candidates = _median([query.num_candidates for query in outcomes.queries])
    selective = [k for k in outcomes.ks if k <= candidates / 2]
    return f"hit@{selective[-1]}" if selective else f"ndcg@{outcomes.ks[-1]}"


def staleness(
    by_head: Mapping[str, Mapping[str, Mapping[str, Metric]]], variants: Sequence[Mapping[str, Any]], metric: str
) -> dict[str, list[Metric]]:
    """Return bundle -> its variants' metric by delay, freshest first, ``never`` (None) last; empty for one delay."""
    curves: dict[str, list[Metric]] = {}
    for variant in sorted(
        variants, key=lambda variant: float("inf") if variant["delay_ms"] is None else variant["delay_ms"]
    ):
        curves.setdefault(str(variant["bundle"]), []).append(
            {"delay_ms": variant["delay_ms"], "variant": variant["name"]} | by_head[str(variant["name"])][ALL][metric]
        )
    return {bundle: curve for bundle, curve in curves.items() if len(curve) > 1}


def metrics_by_head(outcomes: Outcomes, seed: int = 1) -> dict[str, dict[str, dict[str, Metric]]]:
    """Return variant -> head -> metric -> mean with interval."""
    columns = {
        (name, head, metric): variant.column(head, metric)
        for name, variant in outcomes.variants.items()
        for head, metric in variant.metrics
    }
    found: dict[str, dict[str, dict[str, Metric]]] = {}
    for (name, head, metric), values in Bootstrap(_users(outcomes), seed).means(columns).items():
        found.setdefault(name, {}).setdefault(head, {})[metric] = values
    return found


def probabilities(outcomes: Outcomes, seed: int = 1) -> dict[str, dict[str, Metric]]:
    """Return variant -> head -> how its probabilities agree with the labels, where what was shown is known."""
    users = _users(outcomes)
    return {
        name: {head: _agreement(found, users, seed) for head, found in variant.predictions.items()}
        for name, variant in outcomes.variants.items()
        if variant.predictions
    }


def differences(outcomes: Outcomes, first: str, metric: str, seed: int = 1) -> list[Metric]:
    """Return how far the variant ``first`` is ahead of each other one, paired by request, for each head."""
    pairs: dict[tuple[str, str], tuple[Floats, Floats]] = {}
    for head in outcomes.heads:
        mine = outcomes.variants[first].column(head, metric)
        for name, variant in outcomes.variants.items():
            theirs = variant.column(head, metric)
            if name != first and len(theirs) == len(mine) and np.isfinite(mine - theirs).any():
                pairs[name, head] = mine, theirs
    return [
        {"variant": first, "baseline": name, "head": head, "metric": metric} | values
        for (name, head), values in paired(pairs, _users(outcomes), seed).items()
    ]


def paired(pairs: Mapping[K, tuple[Floats, Floats]], users: Sequence[str], seed: int) -> dict[K, Metric]:
    """Return the mean difference of each pair of columns ``(queries,)``, paired by request, with its interval.

    The interval is as wide as it must be where one of the two never varies (``unresampled``).
    """
    found = Bootstrap(users, seed).means({key: mine - theirs for key, (mine, theirs) in pairs.items()})
    for key, (mine, theirs) in pairs.items():
        (my_low, my_high), (low, high) = unresampled(mine, users), unresampled(theirs, users)
        found[key] |= {"low": found[key]["low"] - my_low - high, "high": found[key]["high"] + my_high + low}
    return found


def unresampled(values: Floats, users: Sequence[str]) -> tuple[float, float]:
    """Return how far below and above its mean a metric from 0 to 1 may be where all requests have 0, or all have 1.

    Resampling what never varies gives an interval of width 0: of ten users without a hit, "worse than a random order".
    The bound is the one-sided 97.5 % one of Clopper and Pearson (Biometrika 1934) for as many users.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 0.0
    unseen = 1 - 0.025 ** (1 / len({user for user, value in zip(users, values, strict=True) if np.isfinite(value)}))
    return unseen * bool((known == 1).all()), unseen * bool((known == 0).all())


def against_best_baseline(
    outcomes: Outcomes, by_head: Mapping[str, Mapping[str, Mapping[str, Metric]]], seed: int = 1
) -> list[Metric]:
    """Return how far each variant is ahead of the best baseline, paired by request, for each head and metric.

    The best one is chosen by these very requests, which favours the baselines a little.
    """
    metrics = [f"{name}@{k}" for name in ("hit", "recall", "ndcg") for k in outcomes.ks] + ["mrr"]
    variants = [name for name in outcomes.variants if name not in outcomes.baselines]
    pairs: dict[tuple[str, str, str, str], tuple[Floats, Floats]] = {}
    for head in outcomes.heads:
        for metric in metrics:
            found = {name: by_head.get(name, {}).get(head, {}).get(metric) for name in outcomes.baselines}
            known = {name: one["value"] for name, one in found.items() if one and np.isfinite(one["value"])}
            for variant in variants if known else ():
                best = max(known, key=lambda name: known[name])
                mine, theirs = (outcomes.variants[name].column(head, metric) for name in (variant, best))
                pairs[variant, best, head, metric] = mine, theirs
    return [
        {"variant": variant, "baseline": best, "head": head, "metric": metric} | values
        for (variant, best, head, metric), values in paired(pairs, _users(outcomes), seed).items()
    ]


def over_time(outcomes: Outcomes, metric: str, seed: int = 1) -> dict[str, list[Metric]]:
    """Return each variant's metric of all positives, in equal stretches of time."""
    at_ms = np.array([query.at_ms for query in outcomes.queries])
    if not len(at_ms):
        return {}
    count = int(np.clip((at_ms.max() - at_ms.min()) / DAY_MS + 1, 4, MAX_TIMES))
    edges = np.linspace(at_ms.min(), at_ms.max() + 1, count + 1)
    parts = [
        ({"from_ms": int(low), "until_ms": int(high)}, (at_ms >= low) & (at_ms < high))
        for low, high in pairwise(edges.tolist())
    ]
    return _by_part(outcomes, metric, parts, seed)


def slices(outcomes: Outcomes, metric: str, seed: int = 1) -> dict[str, dict[str, list[Metric]]]:
    """Return each variant's metric of all positives by what is known of the user, and by the hour of the day."""
    history = np.array([query.num_actions for query in outcomes.queries])
    is_new = np.array([query.is_new for query in outcomes.queries], np.bool_)
    hour = np.array([query.at_ms % DAY_MS // 3_600_000 for query in outcomes.queries])
    kinds = {
        "actions known": [(_span(low, high), (history >= low) & (history <= high)) for low, high in HISTORIES],
        "users": [("seen before the replayed part", ~is_new), ("new in the replayed part", is_new)],
        "hour (UTC)": [(f"{low:02d}-{high:02d}", (hour >= low) & (hour < high)) for low, high in HOURS],
    }
    return {
        kind: _by_part(outcomes, metric, [({"slice": name}, which) for name, which in parts if which.any()], seed)
        for kind, parts in kinds.items()
    }


def funnel(outcomes: Outcomes, seed: int = 1) -> dict[str, dict[str, list[Metric]]]:
    """Return metric -> ranker -> its value for all items, warm and cold ones; empty where nothing was retrieved.

    The metrics are what retrieval found, together and by each source, what each source added, HIT and NDCG after
    ranking, and the shares of young items. Items are warm where they were seen before and trained on.
    """
    of_retrieval = {metric for one in outcomes.variants.values() for _, metric in one.metrics if is_funnel(metric)}
    if not of_retrieval:
        return {}
    new = np.array([query.is_new_item for query in outcomes.queries], np.bool_)
    trained = np.array([query.is_trained_item for query in outcomes.queries], np.bool_)
    withheld = ~new & ~trained
    parts = [(ALL_ITEMS, new | True), (WARM, ~new & trained), (COLD, new | ~trained)]
    parts += [(NEW, new), (WITHHELD, withheld)] if new.any() and withheld.any() else []
    named = [({"items": name}, which) for name, which in parts if which.any()]
    ranked = [f"hit@{outcomes.ks[-1]}", f"ndcg@{outcomes.ks[-1]}", YOUNG_SHOWN, YOUNG_WANTED]
    return {metric: _by_part(outcomes, metric, named, seed) for metric in [*sorted(of_retrieval), *ranked]}


def variety(outcomes: Outcomes, catalogue: int) -> dict[str, Metric]:
    """Return each ranker's coverage, and what its feeds knew of users and items."""
    return {
        name: {
            "coverage": len(variant.top_items) / catalogue if catalogue and variant.top_items else float("nan"),
            "newest_action_age_ms_p50": _median(variant.newest_age_ms),
            "feeds_with_actions": float(np.isfinite(variant.newest_age_ms).mean()) if variant.newest_age_ms else 0.0,
            "user_vectors_found": variant.user_vectors_found / max(1, len(outcomes.queries)),
            "unknown_items": variant.unknown_items,
        }
        for name, variant in outcomes.variants.items()
        if variant.newest_age_ms
    }


def verdict(difference: Mapping[str, Any], better_is_lower: bool = False) -> str:
    """Return in words whether one variant is ahead of another, and how sure that is."""
    low, high = difference["low"], difference["high"]
    if better_is_lower:
        low, high = -high, -low
    word = "ahead of" if low > 0 else "behind" if high < 0 else "not clearly different from"
    return (
        f"{difference['variant']} is {word} {difference['baseline']} by {difference['metric']} "
        f"({difference['value']:+.4f}, {difference['low']:+.4f} to {difference['high']:+.4f})"
    )


class Bootstrap:
    """Users resampled, the same resamples for all columns; ``metrics.bootstrap_interval`` is the plain twin."""

    def __init__(self, users: Sequence[str], seed: int, resamples: int = 1000) -> None:
        numbers = {user: number for number, user in enumerate(dict.fromkeys(users))}
        self.user_of_row = np.array([numbers[user] for user in users], np.int64)
        self.num_users, self.seed, self.resamples = len(numbers), seed, resamples

    def means(self, columns: Mapping[K, Floats]) -> dict[K, Metric]:
        """Return the mean of each ``(requests,)`` column with its interval; NaN is not known and left out."""
        if not columns:
            return {}
        sums = np.stack([self._by_user(np.nan_to_num(values)) for values in columns.values()], axis=1)
        counts = np.stack([self._by_user(np.isfinite(values)) for values in columns.values()], axis=1)
        low, high = self._quantiles(sums, counts)
        return {
            key: {
                "value": float(sums[:, n].sum() / counts[:, n].sum()) if counts[:, n].any() else float("nan"),
                "low": float(low[n]),
                "high": float(high[n]),
                "requests": int(counts[:, n].sum()),
            }
            for n, key in enumerate(columns)
        }

    def _by_user(self, values: npt.NDArray[Any]) -> Floats:
        summed: Floats = np.bincount(self.user_of_row, values.astype(np.float64), self.num_users).astype(np.float64)
        return summed

    def _quantiles(self, sums: Floats, counts: Floats) -> tuple[Floats, Floats]:
        rng, means = np.random.default_rng(self.seed), []
        for _ in range(self.resamples // RESAMPLES_AT_ONCE):
            weights = bootstrap_weights(rng, RESAMPLES_AT_ONCE, self.num_users)
            with np.errstate(invalid="ignore", divide="ignore"):
                means.append(weights @ sums / (weights @ counts))
        resampled = np.concatenate(means)
        resampled[:, ~counts.any(axis=0)] = 0.0  # nothing known: a column of NaN has no quantile
        low, high = np.nanquantile(resampled, [0.025, 0.975], axis=0)
        return np.where(counts.any(axis=0), low, np.nan), np.where(counts.any(axis=0), high, np.nan)


def interleaving(outcomes: Outcomes, seed: int = 1) -> Metric | None:
    """Return how often the first of two interleaved variants won; None where none were."""
    if not outcomes.credits:
        return None
    found = preference(outcomes.credits, _users(outcomes), seed=seed)
    rate = found.win_rate
    counts = {"wins": found.wins, "losses": found.losses, "ties": found.ties, "p_value": found.p_value}
    return counts | {"value": rate.value, "low": rate.low, "high": rate.high}


def _users(outcomes: Outcomes) -> list[str]:
    return [query.user for query in outcomes.queries]


def _by_part(
    outcomes: Outcomes, metric: str, parts: Sequence[tuple[Mapping[str, Any], Bools]], seed: int
) -> dict[str, list[Metric]]:
    columns = {
        (name, number): np.where(which, variant.column(ALL, metric), np.nan)
        for name, variant in outcomes.variants.items()
        if len(variant.column(ALL, metric))
        for number, (_, which) in enumerate(parts)
    }
    found: dict[str, list[Metric]] = {}
    for (name, number), values in Bootstrap(_users(outcomes), seed).means(columns).items():
        found.setdefault(name, []).append(dict(parts[number][0]) | values)
    return found


def _agreement(predictions: Predictions, users: Sequence[str], seed: int) -> Metric:
    probabilities, labels, query = predictions.columns()
    numbers = {user: number for number, user in enumerate(dict.fromkeys(users))}
    user = np.array([numbers[one] for one in users])[query]
    losses = log_loss(probabilities, labels)
    return {
        "candidates": len(labels),
        "positives": int(labels.sum()),
        "auc": {"value": auc(probabilities, labels)} | _auc_interval(probabilities, labels, user, len(numbers), seed),
        "gauc": _gauc(probabilities, labels, user, seed),
        "log_loss": Bootstrap([users[row] for row in query.tolist()], seed).means({0: losses})[0],
        "calibration_error": calibration_error(probabilities, labels),
        "predicted_rate": float(probabilities.mean()) if len(probabilities) else float("nan"),
        "observed_rate": float(labels.mean()) if len(labels) else float("nan"),
        "curve": calibration(probabilities, labels),
    }


def _auc_interval(probabilities: Floats, labels: Bools, user: Ints, num_users: int, seed: int) -> Metric:
    """Return the interval of the AUC when users are resampled, each with all of its candidates."""
    order = np.argsort(probabilities, kind="stable")
    probabilities, labels, user = probabilities[order], labels[order], user[order]
    rng, found = np.random.default_rng(seed), []
    for _ in range(AUC_RESAMPLES if labels.any() and not labels.all() else 0):
        times = np.bincount(rng.integers(0, num_users, num_users), minlength=num_users)
        found.append(auc_in_order(probabilities, labels, times[user].astype(float)))
    if not found:
        return {"low": float("nan"), "high": float("nan")}
    low, high = np.nanquantile(found, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def _gauc(probabilities: Floats, labels: Bools, user: Ints, seed: int) -> Metric:
    """Return the mean of the users' own AUCs, weighted by what was shown to each.

    Users with positives alone, or with negatives alone, have none and are left out.
    """
    order = np.argsort(user, kind="stable")
    borders = np.flatnonzero(np.diff(user[order])) + 1
    rows = [part for part in np.split(order, borders) if labels[part].any() and not labels[part].all()]
    if not rows:
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "users": 0}
    each = np.array([auc(probabilities[part], labels[part]) for part in rows])
    weight = np.array([len(part) for part in rows], float)
    sampled = np.random.default_rng(seed).integers(0, len(rows), (1000, len(rows)))
    means = (each * weight)[sampled].sum(axis=1) / weight[sampled].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "value": float(np.average(each, weights=weight)),
        "low": float(low),
        "high": float(high),
        "users": len(rows),
    }


def _median(values: Sequence[float]) -> float:
    known = np.asarray(values)[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}+" if high > 10**6 else f"{low}-{high}"
