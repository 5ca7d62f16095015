"""The logs of the table, as data: where each lies, how it is read, and which actions are positive.

A log that ``open_log`` knows needs nothing; the others need what a user would say on the command line, and no more.
Everything else (whether items are repeated, whether lists were shown) is told from the log, the same way for all.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rankstream.events.open import LogOptions


@dataclass(frozen=True)
class FeedLog:
    """One log of the table."""

    name: str
    title: str
    path: str  # under the folder of all logs
    positives: tuple[str, ...] = ()  # none: those of the log's kind
    options: LogOptions = field(default_factory=LogOptions)

    def flags(self) -> list[str]:
        """Return what `rankstream train` is to be told of the log."""
        flags = [f"--map={name}={column}" for name, column in self.options.columns.items()]
        flags += [f"--set={name}={value}" for name, value in self.options.constants.items()]
        flags += [] if self.options.kind is None else [f"--format={self.options.kind}"]
        return flags + [f"--positive={name}" for name in self.positives]

    def at(self, data: Path) -> Path:
        """Return where the log lies in the folder of all logs."""
        return data / self.path


LOGS = {
    log.name: log
    for log in (
        FeedLog("music30", "30Music, a tenth of the sessions", "music30_sample"),
        FeedLog("taobao", "Taobao UserBehavior, its head", "taobao_userbehavior_head"),
        FeedLog("kuairand", "KuaiRand-Pure, lists as shown", "kuairand_pure_part"),
        FeedLog(
            "completejourney",
            "The Complete Journey, baskets",
            "completejourney/transactions.parquet",
            positives=("buy",),
            options=LogOptions(
                columns={"user_id": "household_id", "item_id": "product_id", "timestamp_ms": "time_utc"},
                constants={"action": "buy"},
            ),
        ),
        FeedLog(
            "online_retail",
            "UCI Online Retail, invoices",
            "uci_online_retail/events.parquet",
            positives=("purchase",),
            options=LogOptions(columns={"user_id": "customer_id", "action": "kind", "timestamp_ms": "time"}),
        ),
        FeedLog(
            "ml_small",
            "MovieLens latest-small",
            "ml_latest_small_posters/ratings.parquet",
            options=LogOptions(kind="movielens"),
        ),
        FeedLog(
            "ml1m",
            "MovieLens-1M, 100,000 of its ratings, those with times",
            "ml1m_sasrec/sample_100k_with_timestamps.parquet",
            options=LogOptions(kind="movielens"),
        ),
    )
}
