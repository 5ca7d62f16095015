"""How feeds look in a terminal."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from msgspec import UnsetType
from rich.console import Console
from rich.text import Text

from rankstream.cli.views.table import Cell, Table, names, numbers
from rankstream.streams.codec import RankedFeed

LEAST = 0.00005  # of numbers with four decimals
SHOWN_ITEMS = 5  # of a feed in the list of feeds


def feed_table(feed: RankedFeed) -> Table:
    """Show one feed: a line for each item, and below what it was made from."""
    items = [] if isinstance(feed.items, UnsetType) else feed.items
    heads = _heads(feed)
    rows = []
    for rank, item in enumerate(items, start=1):
        probabilities = (number_text(item.probabilities[head]) for head in heads)
        source = [item.source] if isinstance(item.source, str) else []
        rows.append([str(rank), str(item.item_id), number_text(item.score), *probabilities, *source])
    told = names("source") if items and isinstance(items[0].source, str) else []
    columns = [*numbers("rank"), *names("item"), *numbers("score", *heads), *told]
    return Table(columns, rows, f"feed of user {feed.user_id}", [_made_from(feed)])


def _made_from(feed: RankedFeed) -> str:
    timings = {} if isinstance(feed.timings_ms, UnsetType) else feed.timings_ms
    spent = ", ".join(f"{name} {spent_ms:.1f} ms" for name, spent_ms in timings.items())
    used = f"{feed.actions_used} actions used, newest {age_text(feed)} old" if feed.actions_used else "0 actions used"
    vector = "found" if feed.user_vector_found is True else "not found"
    return (
        f"model {feed.model_version}; {used}; "
        f"user vector {vector}; {feed.unknown_items} unknown items"
        + (f"; {spent}" if spent else "")
        + (f"; order by {feed.policy}" if isinstance(feed.policy, str) else "")
        + (f"; not scored for want of time, order by {feed.fallback}" if isinstance(feed.fallback, str) else "")
        + f"; {heads_text(_heads(feed), feed.calibrated if isinstance(feed.calibrated, list) else ())}"
    )


def number_text(number: float) -> str:
    """Return a number in four decimals; in two digits where that would be 0 and the number is not."""
    return f"{number:.4f}" if not number or abs(number) >= LEAST else f"{number:.1e}"


def _heads(feed: RankedFeed) -> list[str]:
    return list(feed.items[0].probabilities) if isinstance(feed.items, list) and feed.items else []


def heads_text(heads: Sequence[str], calibrated: Collection[str]) -> str:
    """Return what the heads' numbers are: ``click: a probability; save: a score, no probability``."""
    kinds = {
        ("a probability", "probabilities"): [head for head in heads if head in calibrated],
        ("a score, no probability", "scores, no probabilities"): [head for head in heads if head not in calibrated],
    }
    return "; ".join(f"{', '.join(named)}: {kind[len(named) > 1]}" for kind, named in kinds.items() if named)


def age_text(feed: RankedFeed) -> str:
    """Return how old the newest action was that the feed knew of."""
    age_ms = feed.newest_action_age_ms
    return "-" if age_ms is None or isinstance(age_ms, UnsetType) else duration_text(age_ms)


def duration_text(duration_ms: int) -> str:
    """Return a duration in the unit that suits it: ``3.2 s``, ``5.0 min``."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if abs(duration_ms) >= size:
            return f"{duration_ms / size:.1f} {unit}"
    return f"{duration_ms} ms"


def newest_that_fit(feeds: list[RankedFeed], seen: int, screen: Console) -> Table:
    """Return the table of as many of the newest feeds, which come first, as the screen has lines for."""
    while True:
        table = feeds_table(feeds, seen)
        if len(feeds) < 2 or len(screen.render_lines(table, pad=False)) < screen.height:
            return table
        feeds = feeds[:-1]


def feeds_table(feeds: list[RankedFeed], seen: int) -> Table:
    """Show the newest feeds, a line for each."""
    rows: list[list[Cell]] = []
    for feed in feeds:
        at = f"{datetime.fromtimestamp(feed.ranked_at_ms / 1000, UTC):%H:%M:%S}"
        if isinstance(feed.error, UnsetType):
            by = f"not scored, by {feed.fallback}" if isinstance(feed.fallback, str) else str(feed.model_version)
            facts = [_best(feed), str(feed.actions_used), age_text(feed), by]
            rows.append([at, str(feed.user_id), *facts])
        else:
            error = Text.assemble((feed.error.reason, "red"), f": {feed.error.message}")
            rows.append([at, str(feed.user_id), error, "", "", ""])
    columns = [*names("at (UTC)", "user", "best items"), *numbers("actions", "newest"), *names("model")]
    return Table(columns, rows, notes=[f"{seen:,} feeds so far"])


def _best(feed: RankedFeed) -> str:
    items = [] if isinstance(feed.items, UnsetType) else feed.items
    more = ", ..." if len(items) > SHOWN_ITEMS else ""
    return ", ".join(str(item.item_id) for item in items[:SHOWN_ITEMS]) + more
