"""The figures of a replay with their intervals, as plain data: what the report draws and programs read.

Every interval is a bootstrap over users; every difference is paired by point.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rankstream.evaluation.interleaving import preference
from rankstream.evaluation.replay.outcomes import ALL, Outcomes, Pairs
from rankstream.metrics.bootstrap import bootstrap_weights
from rankstream.metrics.probabilities import auc, auc_in_order, calibration, calibration_error, log_loss

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Figure = dict[str, Any]  # value, low, high, points

DAY_MS = 86_400_000
HISTORIES = ((0, 0), (1, 5), (6, 20), (21, 50), (51, 99), (100, 10**9))
HOURS = ((0, 6), (6, 12), (12, 18), (18, 24))
MAX_TIMES = 14  # on the axis of time
DRAWS_AT_ONCE = 100
K = TypeVar("K")
AUC_DRAWS = 300  # each sorts nothing, but walks all pairs


def summarise(
    outcomes: Outcomes, variants: Sequence[Mapping[str, Any]], catalogue: int, seed: int = 1
) -> dict[str, Any]:
    """Return all figures of a replay; ``variants`` says of each: name, bundle, delay_ms (None: never), model_version.

    The first lane is the one that the others are compared with. See the functions below for the parts.
    """
    main = _positive_actions(outcomes)
    first = str(variants[0]["name"])
    by_head = figures(outcomes, seed)
    ahead = [one for k in outcomes.ks for one in differences(outcomes, first, f"hit@{k}", seed)]
    ahead += differences(outcomes, first, f"ndcg@{outcomes.ks[-1]}", seed)
    return {
        "main_figure": main,
        "points": len(outcomes.seen),
        "users": len(set(_users(outcomes))),
        "heads": list(outcomes.heads),
        "ks": list(outcomes.ks),
        "candidates_median": _median([seen.candidates for seen in outcomes.seen]),
        "targets_unknown": sum(not seen.target_known for seen in outcomes.seen),
        "lanes": [dict(variant) for variant in variants],
        "figures": by_head,
        "probabilities": probabilities(outcomes, seed),
        "differences": ahead,
        "verdicts": [verdict(one) for one in ahead if one["head"] == ALL and one["figure"] == main],
        "over_time": over_time(outcomes, main, seed),
        "slices": slices(outcomes, main, seed),
        "variety": variety(outcomes, catalogue),
        "staleness": staleness(by_head, variants, main),
        "interleaving": interleaving(outcomes, seed),
    }


def _positive_actions(outcomes: Outcomes) -> str:
    """Return HIT at the largest k that does not hold most of what there is to choose from; NDCG if every k does."""
    candidates = _median([seen.candidates for seen in outcomes.seen])
    telling = [k for k in outcomes.ks if k <= candidates / 2]
    return f"hit@{telling[-1]}" if telling else f"ndcg@{outcomes.ks[-1]}"


def staleness(
    by_head: Mapping[str, Mapping[str, Mapping[str, Figure]]], variants: Sequence[Mapping[str, Any]], figure: str
) -> dict[str, list[Figure]]:
    """Return bundle -> its variants' metric by delay, freshest first, ``never`` (None) last; empty for one delay."""
    curves: dict[str, list[Figure]] = {}
    for variant in sorted(
        variants, key=lambda variant: float("inf") if variant["delay_ms"] is None else variant["delay_ms"]
    ):
        curves.setdefault(str(variant["bundle"]), []).append(
            {"delay_ms": variant["delay_ms"], "lane": variant["name"]} | by_head[str(variant["name"])][ALL][figure]
        )
    return {bundle: curve for bundle, curve in curves.items() if len(curve) > 1}


def figures(outcomes: Outcomes, seed: int = 1) -> dict[str, dict[str, dict[str, Figure]]]:
    """Return lane -> head -> figure -> value with interval."""
    columns = {
        (name, head, figure): variant.column(head, figure)
        for name, variant in outcomes.variants.items()
        for head, figure in variant.figures
    }
    found: dict[str, dict[str, dict[str, Figure]]] = {}
    for (name, head, figure), values in Draws(_users(outcomes), seed).figures(columns).items():
        found.setdefault(name, {}).setdefault(head, {})[figure] = values
    return found


def probabilities(outcomes: Outcomes, seed: int = 1) -> dict[str, dict[str, Figure]]:
    """Return lane -> head -> how its probabilities agree with what came, where the shown candidates are known."""
    users = _users(outcomes)
    return {
        name: {head: _agreement(pairs, users, seed) for head, pairs in variant.pairs.items()}
        for name, variant in outcomes.variants.items()
        if variant.pairs
    }


def differences(outcomes: Outcomes, first: str, figure: str, seed: int = 1) -> list[Figure]:
    """Return how far the lane ``first`` is ahead of each other one, paired by point, for each head."""
    columns: dict[tuple[str, str], Floats] = {}
    for head in outcomes.heads:
        mine = outcomes.variants[first].column(head, figure)
        for name, variant in outcomes.variants.items():
            theirs = variant.column(head, figure)
            if name != first and len(theirs) == len(mine) and np.isfinite(mine - theirs).any():
                columns[name, head] = mine - theirs
    return [
        {"lane": first, "against": name, "head": head, "figure": figure} | values
        for (name, head), values in Draws(_users(outcomes), seed).figures(columns).items()
    ]


def over_time(outcomes: Outcomes, figure: str, seed: int = 1) -> dict[str, list[Figure]]:
    """Return each lane's figure of all positives, in equal stretches of time."""
    at_ms = np.array([seen.at_ms for seen in outcomes.seen])
    if not len(at_ms):
        return {}
    count = int(np.clip((at_ms.max() - at_ms.min()) / DAY_MS + 1, 4, MAX_TIMES))
    edges = np.linspace(at_ms.min(), at_ms.max() + 1, count + 1)
    parts = [
        ({"from_ms": int(low), "until_ms": int(high)}, (at_ms >= low) & (at_ms < high))
        for low, high in pairwise(edges.tolist())
    ]
    return _by_part(outcomes, figure, parts, seed)


def slices(outcomes: Outcomes, figure: str, seed: int = 1) -> dict[str, dict[str, list[Figure]]]:
    """Return each lane's figure of all positives by what is known of the user, and by the hour of the day."""
    history = np.array([seen.history for seen in outcomes.seen])
    is_new = np.array([seen.is_new for seen in outcomes.seen], np.bool_)
    hour = np.array([seen.at_ms % DAY_MS // 3_600_000 for seen in outcomes.seen])
    kinds = {
        "actions known": [(_span(low, high), (history >= low) & (history <= high)) for low, high in HISTORIES],
        "users": [("seen before the replayed part", ~is_new), ("new in the replayed part", is_new)],
        "hour (UTC)": [(f"{low:02d}-{high:02d}", (hour >= low) & (hour < high)) for low, high in HOURS],
    }
    return {
        kind: _by_part(outcomes, figure, [({"slice": name}, which) for name, which in parts if which.any()], seed)
        for kind, parts in kinds.items()
    }


def variety(outcomes: Outcomes, catalogue: int) -> dict[str, Figure]:
    """Return each ranker's coverage and what its feeds knew."""
    return {
        name: {
            "coverage": len(variant.top_items) / catalogue if catalogue else float("nan"),
            "newest_action_age_ms_p50": _median(variant.newest_age_ms),
            "feeds_with_actions": float(np.isfinite(variant.newest_age_ms).mean()) if variant.newest_age_ms else 0.0,
            "user_vectors_found": variant.user_vectors_found / max(1, len(outcomes.seen)),
            "unknown_items": variant.unknown_items,
        }
        for name, variant in outcomes.variants.items()
        if variant.newest_age_ms
    }


def verdict(difference: Mapping[str, Any], better_is_lower: bool = False) -> str:
    """Say plainly whether one lane is ahead of another, and how sure that is."""
    low, high = difference["low"], difference["high"]
    if better_is_lower:
        low, high = -high, -low
    word = "ahead of" if low > 0 else "behind" if high < 0 else "not clearly different from"
    return (
        f"{difference['lane']} is {word} {difference['against']} by {difference['figure']} "
        f"({difference['value']:+.4f}, {difference['low']:+.4f} to {difference['high']:+.4f})"
    )


class Draws:
    """Users drawn anew, the same draws for all figures; ``metrics.bootstrap_interval`` is the plain twin."""

    def __init__(self, users: Sequence[str], seed: int, draws: int = 1000) -> None:
        names = {user: number for number, user in enumerate(dict.fromkeys(users))}
        self.owners = np.array([names[user] for user in users], np.int64)
        self.num_users, self.seed, self.draws = len(names), seed, draws

    def figures(self, columns: Mapping[K, Floats]) -> dict[K, Figure]:
        """Return the mean of what is known of each ``(points,)`` column, with its interval; NaN is not known."""
        if not columns:
            return {}
        sums = np.stack([self._a_user(np.nan_to_num(values)) for values in columns.values()], axis=1)
        counts = np.stack([self._a_user(np.isfinite(values)) for values in columns.values()], axis=1)
        low, high = self._quantiles(sums, counts)
        return {
            key: {
                "value": float(sums[:, n].sum() / counts[:, n].sum()) if counts[:, n].any() else float("nan"),
                "low": float(low[n]),
                "high": float(high[n]),
                "points": int(counts[:, n].sum()),
            }
            for n, key in enumerate(columns)
        }

    def _a_user(self, values: npt.NDArray[Any]) -> Floats:
        summed: Floats = np.bincount(self.owners, values.astype(np.float64), self.num_users).astype(np.float64)
        return summed

    def _quantiles(self, sums: Floats, counts: Floats) -> tuple[Floats, Floats]:
        rng, means = np.random.default_rng(self.seed), []
        for _ in range(self.draws // DRAWS_AT_ONCE):
            times = bootstrap_weights(rng, DRAWS_AT_ONCE, self.num_users)
            with np.errstate(invalid="ignore", divide="ignore"):
                means.append(times @ sums / (times @ counts))
        drawn_means = np.concatenate(means)
        drawn_means[:, ~counts.any(axis=0)] = 0.0  # nothing known: a column of NaN has no quantile
        low, high = np.nanquantile(drawn_means, [0.025, 0.975], axis=0)
        return np.where(counts.any(axis=0), low, np.nan), np.where(counts.any(axis=0), high, np.nan)


def interleaving(outcomes: Outcomes, seed: int = 1) -> Figure | None:
    """Return how often the first of two interleaved lanes won; None where none were."""
    if not outcomes.credits:
        return None
    found = preference(outcomes.credits, _users(outcomes), seed=seed)
    rate = found.win_rate
    told = {"wins": found.wins, "losses": found.losses, "ties": found.ties, "p_value": found.p_value}
    return told | {"value": rate.value, "low": rate.low, "high": rate.high}


def _users(outcomes: Outcomes) -> list[str]:
    return [seen.user for seen in outcomes.seen]


def _by_part(
    outcomes: Outcomes, figure: str, parts: Sequence[tuple[Mapping[str, Any], Bools]], seed: int
) -> dict[str, list[Figure]]:
    columns = {
        (name, number): np.where(which, variant.column(ALL, figure), np.nan)
        for name, variant in outcomes.variants.items()
        if len(variant.column(ALL, figure))
        for number, (_, which) in enumerate(parts)
    }
    found: dict[str, list[Figure]] = {}
    for (name, number), values in Draws(_users(outcomes), seed).figures(columns).items():
        found.setdefault(name, []).append(dict(parts[number][0]) | values)
    return found


def _agreement(pairs: Pairs, users: Sequence[str], seed: int) -> Figure:
    said, came, owners = pairs.columns()
    names = {user: number for number, user in enumerate(dict.fromkeys(users))}
    user = np.array([names[one] for one in users])[owners]
    promised = float(said.mean()) if len(said) else float("nan")
    return {
        "candidates": len(came),
        "positives": int(came.sum()),
        "auc": {"value": auc(said, came)} | _drawn(said, came, user, len(names), seed),
        "gauc": _gauc(said, came, user, seed),
        "log_loss": Draws([users[owner] for owner in owners.tolist()], seed).figures({0: log_loss(said, came)})[0],
        "calibration_error": calibration_error(said, came),
        "promised": promised,
        "came": float(came.mean()) if len(came) else float("nan"),
        "curve": calibration(said, came),
    }


def _drawn(said: Floats, came: Bools, user: npt.NDArray[np.int64], users: int, seed: int) -> Figure:
    """Return the interval of the AUC when users are drawn anew, each with all of its pairs."""
    order = np.argsort(said, kind="stable")
    said, came, user = said[order], came[order], user[order]
    rng = np.random.default_rng(seed)
    draws = [
        auc_in_order(said, came, np.bincount(rng.integers(0, users, users), minlength=users)[user].astype(float))
        for _ in range(AUC_DRAWS if came.any() and not came.all() else 0)
    ]
    if not draws:
        return {"low": float("nan"), "high": float("nan")}
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def _gauc(said: Floats, came: Bools, user: npt.NDArray[np.int64], seed: int) -> Figure:
    """Return mean of the users' own AUCs, weighted by what was shown to them (users without both kinds left out)."""
    order = np.argsort(user, kind="stable")
    borders = np.flatnonzero(np.diff(user[order])) + 1
    rows = [part for part in np.split(order, borders) if came[part].any() and not came[part].all()]
    if not rows:
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "points": 0}
    each = np.array([auc(said[part], came[part]) for part in rows])
    weight = np.array([len(part) for part in rows], float)
    drawn = np.random.default_rng(seed).integers(0, len(rows), (1000, len(rows)))
    means = (each * weight)[drawn].sum(axis=1) / weight[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "value": float(np.average(each, weights=weight)),
        "low": float(low),
        "high": float(high),
        "points": len(rows),
    }


def _median(values: Sequence[float]) -> float:
    known = np.asarray(values)[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}+" if high > 10**6 else f"{low}-{high}"
