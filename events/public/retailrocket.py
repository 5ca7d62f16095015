"""RetailRocket's ``events.csv`` as actions: views, carts and purchases of a shop's visitors, with times in ms."""

from rankstream.events.log_kind import LogKind
from rankstream.events.public.batches import Batch, Form, PublicLog, renamed, wire
from rankstream.features.actions import Vocabulary

NAMES = {"view": "view", "addtocart": "cart", "transaction": "buy"}
VOCABULARY = Vocabulary(tuple(NAMES.values()))
COLUMNS = ("timestamp", "visitorid", "event", "itemid")


def translated(batch: Batch) -> Batch:
    """Return a batch in the wire's columns; an unknown event keeps its name, which no vocabulary has."""
    return wire(
        user_id=batch.column("visitorid"),
        item_id=batch.column("itemid"),
        action=renamed(batch.column("event"), NAMES),
        timestamp_ms=batch.column("timestamp"),
    )


LOG = PublicLog(
    LogKind(
        "retailrocket",
        ("cart", "buy"),
        (),
        {"view": VOCABULARY.actions, "cart": ("cart", "buy"), "buy": ("buy",)},
        {"view": 1.0, "cart": 1.0, "buy": 1.0},  # what was bought was put into the cart and seen, too
        repeats=True,
    ),
    VOCABULARY,
    (Form(COLUMNS, lambda _: translated, "timestamp", "ms"),),
    ("events.csv",),
)
