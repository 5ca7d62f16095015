"""The tables of the feed, from results alone: a log's rankers, how far the product is ahead, and kinds of queries."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from rankstream.experiments.feed.judged import ALL
from rankstream.experiments.feed.logs import LOGS, FeedLog
from rankstream.experiments.markdown import mean_and_interval, short, table
from rankstream.experiments.runs import Runs

TITLES = {"hr@1": "HR@1", "hr@20": "HR@20", "mrr@20": "MRR@20", "ndcg@10": "NDCG@10"}
DEFAULT = "default"  # name of the results of today's default training
WITH_ITEMS = "default + --items"  # the same, with a catalogue
WITH_USERS = "default + --users"  # with a file of users
# Of all rankers, of what items and users add, and of what each part is worth.
TABLES = ("feed", "feed-items", "feed-users", "feed-ablations")
WIDTH = 120  # of a page
BOTH = 2  # metrics that stand in one cell of a table of kinds


def tables(runs: Runs) -> dict[str, str]:
    """Return the tables of all logs that have a result, each of the larger size that has one."""
    found = {name: [text for log in LOGS.values() if (text := _of_log(runs, log, name))] for name in TABLES}
    return {name: "\n\n".join(texts) for name, texts in found.items() if texts}


def _of_log(runs: Runs, log: FeedLog, name: str) -> str:
    for size in ("full", "small"):
        results = [one for one in runs.results_of(f"{name}-{size}") if one["config"]["log"] == log.name]
        results.sort(key=lambda one: (one["config"]["product"] != DEFAULT, one["name"]))
        if results:
            return written(log, *(one["metrics"] for one in results))
    return ""


def written(log: FeedLog, metrics: Mapping[str, Any], *earlier: Mapping[str, Any]) -> str:
    """Return one log's metrics as Markdown; of ``earlier`` ones, only the rows of products that this one lacks."""
    products, rows = list(metrics["products"]), dict(metrics["rows"])
    old = {name: one["rows"][name] for one in earlier for name in one["products"] if name not in rows}
    of_rows = {name: rows[name] for name in products} | old | rows
    return "\n\n".join(
        [
            fill(f"**{log.title}.** {_about(metrics)}", WIDTH),
            _whole(of_rows, metrics["differences"].get(products[0], {}), products[0]),
            _by_kind(of_rows, metrics["splits"]),
            *_seeds(metrics.get("trainings", {})),
            *notes(metrics["products"], metrics.get("rivals", {})),
        ]
    )


def _about(metrics: Mapping[str, Any]) -> str:
    log, queries = metrics["log"], metrics["splits"][ALL]
    asked = "lists that were shown" if log["shown"] else f"all {log['items']:,} items ranked"
    seen = " but those that the user has seen" if log["exclude_seen"] else ""
    return (
        f"{log['actions']:,} actions of {log['users']:,} users; tested from {log['trained_until']} on, with "
        f"{queries['queries']:,} queries of {queries['users']:,} users, {asked}{seen}; of the positives there, "
        f"{100 * log['known_targets']:.3g} % are on items known before."
    )


def _seeds(trainings: Mapping[str, Any]) -> list[str]:
    """Say what each training of a row came to, whose mean the row is."""
    return [
        fill(
            f"{row} is the mean of {len(next(iter(of.values())))} trainings, seed by seed: "
            + "; ".join(f"{TITLES[metric]} {', '.join(map(short, values))}" for metric, values in of.items())
            + ".",
            WIDTH,
        )
        for row, of in trainings.items()
    ]


def notes(products: Mapping[str, Any], rivals: Mapping[str, Any]) -> list[str]:
    """Return a list of what each training took, where it is known, and what the rivals' came to."""
    told = [
        f"{name} ({about['seconds']:,.0f} s): `rankstream train`, with at most {about['peak_rss_mb']:,.0f} MB of memory"
        for name, about in products.items()
        if about["seconds"] and about["peak_rss_mb"]
    ]
    told += [f"{row} ({about['seconds']:,.0f} s): {about['note']}" for row, about in rivals.items()]
    return ["\n".join(fill(f"- {one}.", WIDTH, subsequent_indent="  ") for one in told)] if told else []


def _whole(of_rows: Mapping[str, Any], ahead: Mapping[str, Any], product: str) -> str:
    metrics = _metrics_of(of_rows)
    head = ["", *(TITLES[one] for one in metrics), *(f"{product} less it: {TITLES[one]}" for one in metrics)]
    rows = [
        [name, *(_cell(found[one][ALL]) for one in metrics), *(_difference(ahead, name, one) for one in metrics)]
        for name, found in of_rows.items()
    ]
    return table(head, rows)


def _by_kind(of_rows: Mapping[str, Any], splits: Mapping[str, Any]) -> str:
    metrics = _metrics_of(of_rows)[:BOTH]
    kinds = [split for split in splits if split != ALL]
    head = [" / ".join(TITLES[one] for one in metrics), *(f"{one} ({splits[one]['queries']:,})" for one in kinds)]
    rows = [
        [name, *(" / ".join(short(found[one][kind][0]) for one in metrics) for kind in kinds)]
        for name, found in of_rows.items()
    ]
    return table(head, rows)


def _metrics_of(of_rows: Mapping[str, Any]) -> Sequence[str]:
    return list(next(iter(of_rows.values())))


def _cell(values: Sequence[float]) -> str:
    return mean_and_interval(values[0], values[1:])


def _difference(ahead: Mapping[str, Any], name: str, metric: str) -> str:
    """Return a paired difference, bold where its interval leaves out zero."""
    if name not in ahead:
        return ""
    value, low, high = ahead[name][metric][ALL]
    text = mean_and_interval(value, (low, high))
    text = text if text.startswith("-") else f"+{text}"
    return f"**{text}**" if low > 0 or high < 0 else text
