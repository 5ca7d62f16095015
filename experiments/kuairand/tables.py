"""The ranker's tables and plot, from the results of ``experiments.kuairand.ranker`` alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rankstream.experiments.kuairand.ranker import FRESHEST, SIZES
from rankstream.experiments.kuairand.rows import rows
from rankstream.experiments.markdown import mean_and_interval, short, table
from rankstream.experiments.runs import Runs

LISTS = {
    "ndcg10": "NDCG@10",
    "hit3_click": "HIT@3 click",
    "hit3_long_view": "HIT@3 long view",
    "hit3_like": "HIT@3 like",
    "hit3_skip": "HIT@3 skip (less is better)",
}
HEADS = {"click": "click", "long_view": "long view", "like": "like", "skip": "skip"}
ORDER = {f"order_gauc_{head}": f"{HEADS[head]}" for head in ("click", "long_view")}
ORDERS = {"ndcg10": "NDCG@10"} | {key: f"GAUC of the order, {title}" for key, title in ORDER.items()}
DIFFERENCES = (
    ORDERS
    | {"auc_click": "AUC click", "auc_long_view": "AUC long view"}
    | {f"gauc_{head}": f"GAUC {title}" for head, title in HEADS.items()}
)
SHORT: tuple[str, ...] = ()  # tables of the small size: none, its metrics are noise
SCORES_ONLY = ("lambdamart",)  # orders lists, predicts no probability
BASELINES = {
    "random": "random order",
    "popularity": "popularity (the item's own rates)",
    "lambdamart": "LightGBM LambdaMART on counters",
    "classifiers": "LightGBM, a classifier a head",
}


def tables(runs: Runs) -> dict[str, str]:
    """Return the tables of the small size, and of the largest other one that was compared, by their markers' names."""
    found: dict[str, str] = {}
    for size in ("small", largest_size(runs)):
        compared = runs.result(f"ranker-{size}/_comparison")
        if compared is not None:
            made = _of_size(runs, size, compared)
            wanted = SHORT if size == "small" else made
            found |= {("ranker-small-" if size == "small" else "ranker-") + name: made[name] for name in wanted}
    return found


def largest_size(runs: Runs) -> str:
    """Return the name of the largest size that was compared, the small one not counted."""
    return next((size for size in ("full", "half") if runs.result(f"ranker-{size}/_comparison")), "full")


def _of_size(runs: Runs, size: str, compared: dict[str, Any]) -> dict[str, str]:
    metrics = compared["metrics"]
    titles = titles_of(size)
    models = [name for name in titles if name in metrics["rows"] and titles[name][1] == "models"]
    outputs = [name for name in titles if name in metrics["rows"] and titles[name][1] == "outputs"]
    made = _Made(metrics, titles)
    heads = [name for name in models if name not in SCORES_ONLY]
    whole = {
        "lists": made.rows(models, LISTS | {key: ORDERS[key] for key in ORDER}),
        "auc": made.rows(heads, {f"auc_{head}": f"AUC {title}" for head, title in HEADS.items()}),
        "gauc": made.rows(heads, {f"gauc_{head}": f"GAUC {title}" for head, title in HEADS.items()}),
        "sessions": made.rows(heads, {f"session_gauc_{head}": f"GAUC {title}" for head, title in HEADS.items()}),
        "calibration": made.rows(
            heads,
            {f"logloss_{head}": f"log loss {HEADS[head]}" for head in ("click", "long_view", "skip")}
            | {f"ece_{head}": f"ECE {HEADS[head]}" for head in ("click", "long_view", "skip")},
        ),
        "differences": made.differences([name for name in models if name != "full"]),
        "cost": _cost(runs, size, titles),
    }
    if outputs:
        whole["outputs"] = made.rows(["full", *outputs], LISTS)
        whole["outputs-differences"] = made.differences(outputs)
    if metrics.get("freshness"):
        whole["freshness"] = _freshness(metrics["freshness"], titles)
    diverse = _diversity(runs, size, titles)
    return whole | ({"diversity": diverse} if diverse else {})


class _Made:
    """Tables of one comparison."""

    def __init__(self, metrics: dict[str, Any], titles: Mapping[str, tuple[str, str]]) -> None:
        self.metrics, self.titles = metrics, titles

    def rows(self, names: Sequence[str], columns: Mapping[str, str]) -> str:
        """Return metrics with their intervals."""
        return self._table(names, columns, "metrics", lambda metric: mean_and_interval(metric[0], metric[1:]))

    def differences(self, names: Sequence[str]) -> str:
        """Return by how much the full hybrid is ahead of each row; bold where the interval excludes zero."""
        return self._table(names, DIFFERENCES, "reference_less_row", _difference)

    def _table(
        self, names: Sequence[str], columns: Mapping[str, str], part: str, written: Callable[[Sequence[float]], str]
    ) -> str:
        found = self.metrics["rows"]
        body = []
        for name in names:
            has = LISTS | ORDERS if name in SCORES_ONLY else columns
            cells = [written(found[name][part][key]) if key in has else "" for key in columns]
            body.append([self.titles[name][0], str(self.metrics["seeds"][name]), *cells])
        return table(["model", "seeds", *columns.values()], body)


def _difference(metric: Sequence[float]) -> str:
    mean, low, high = metric
    text = f"{mean:+.3f}".replace("0.", ".", 1) + f" [{short(low)}, {short(high)}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def titles_of(size: str) -> dict[str, tuple[str, str]]:
    """Return each row's title and its part of the table, in the tables' order."""
    settings = SIZES[size]
    trained = rows(settings.recent_outputs, settings.num_actions)
    full, *others = [(row.name, (row.title, row.ablation)) for row in trained]
    return dict([full, *((name, (title, "models")) for name, title in BASELINES.items()), *others])


def _cost(runs: Runs, size: str, titles: Mapping[str, tuple[str, str]]) -> str:
    """Return parameters, seconds and memory of each row, means over seeds."""
    body = []
    results = [one for one in runs.results_of(f"ranker-{size}") if "row" in one["config"]]
    for name in titles:
        mine = [one for one in results if one["config"]["row"] == name]
        if mine:
            seconds = sum(one["seconds"] for one in mine) / len(mine)
            memory = max(one["peak_rss_mb"] for one in mine)
            parameters = mine[0]["metrics"].get("parameters")
            size_of = "-" if parameters is None else f"{parameters:,}"
            body.append([titles[name][0], size_of, f"{seconds:,.0f}", f"{memory:,}"])
    return table(["model", "parameters", "seconds a run", "peak RSS, MB"], body)


def _freshness(by_age: Mapping[str, Mapping[str, Any]], titles: Mapping[str, tuple[str, str]]) -> str:
    rows = [row for row in FRESHEST if row in next(iter(by_age.values()))["click"]]
    head = ["newest action", "impressions", "AUC click"]
    head += [f"{HEADS[of]}: less {titles[row][0]}" for of in ("click", "skip") for row in rows]
    body = []
    for name, of_age in by_age.items():
        lacks = [_difference(of_age[of][row]) for of in ("click", "skip") for row in rows]
        body.append([name, f"{of_age['exposures']:,}", short(of_age["click"]["full"][0]), *lacks])
    return table(head, body)


def _diversity(runs: Runs, size: str, titles: Mapping[str, tuple[str, str]]) -> str:
    body = []
    for name in titles:
        results = [one for one in runs.results_of(f"ranker-{size}") if one["config"].get("row") == name]
        found = [one["metrics"]["diversity"] for one in results if "diversity" in one["metrics"]]
        if found:
            means = {key: sum(one[key] for one in found) / len(found) for key in ("tags", "authors", "nearness")}
            spread = max(one["tags"] for one in found) - min(one["tags"] for one in found)
            cells = [f"{means['tags']:.2f}", f"{spread:.2f}", f"{means['authors']:.2f}", f"{means['nearness']:.3f}"]
            body.append([titles[name][0], str(len(found)), *cells])
    head = ["model", "seeds", "different tags in ten", "range over seeds", "authors in ten", "mean cosine in ten"]
    return table(head, body) if body else ""
