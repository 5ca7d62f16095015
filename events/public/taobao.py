"""Taobao's UserBehavior as actions: page views, carts, favourites, purchases, with times in seconds.

As published, ``UserBehavior.csv`` has no heading.
"""

from rankstream.events.log_kind import LogKind
from rankstream.events.public.batches import Batch, Form, PublicLog, renamed, wire
from rankstream.features.actions import Vocabulary

NAMES = {"pv": "view", "fav": "save", "cart": "cart", "buy": "buy"}
VOCABULARY = Vocabulary(tuple(NAMES.values()))
POSITIVES = ("save", "cart", "buy")
NEGATIVES = ()
KIND = LogKind(
    "taobao",
    POSITIVES,
    NEGATIVES,
    {"view": tuple(NAMES.values()), "save": ("save",), "cart": ("cart",), "buy": ("buy",)},
    {"view": 1.0, "save": 1.0, "cart": 1.0, "buy": 1.0},  # a save, cart or buy counts twice: it is a view, too
    repeats=True,
)
COLUMNS = ("user_id", "item_id", "behavior", "timestamp")


def translated(batch: Batch) -> Batch:
    """Return a batch in the wire's columns; an unknown behaviour keeps its name, which no vocabulary has."""
    return wire(
        user_id=batch.column("user_id"),
        item_id=batch.column("item_id"),
        action=renamed(batch.column("behavior"), NAMES),
        timestamp_ms=batch.column("timestamp"),  # null in the half row that a head of the file ends in
    )


FIELDS = (
    ("user_id", r"\d+"),
    ("item_id", r"\d+"),
    ("category_id", r"\d+"),
    ("behavior", "pv|fav|cart|buy"),
    ("timestamp", r"-?\d+"),  # a few rows of the published file have impossible times
)
LOG = PublicLog(
    KIND,
    VOCABULARY,
    (
        Form(COLUMNS, lambda _: translated, "timestamp", "s"),
        Form(COLUMNS, lambda _: translated, "timestamp", "s", fields=FIELDS),
    ),
    ("events.parquet", "UserBehavior.csv"),
)
