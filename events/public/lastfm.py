"""Last.fm-1K's plays as actions: a track of a user at a time; plays of tracks without an id (MusicBrainz') are skipped.

As published, ``userid-timestamp-artid-artname-traid-traname.tsv`` has no heading, and quotes are letters.
"""

from rankstream.events.log_kind import LogKind
from rankstream.events.public.batches import Batch, Form, PublicLog, always, wire
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("play",))
COLUMNS = ("userid", "timestamp", "traid")
MBID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # of artists and tracks, where they have one


def translated(batch: Batch) -> Batch:
    """Return a batch in the wire's columns."""
    return wire(
        user_id=batch.column("userid"),
        item_id=batch.column("traid"),
        action=always("play", batch.num_rows),
        timestamp_ms=batch.column("timestamp"),
    )


FIELDS = (
    ("userid", r"user_\d+"),
    ("timestamp", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    ("artid", f"({MBID})?"),
    ("artname", ".*"),
    ("traid", f"({MBID})?"),
    ("traname", ".*"),
)
LOG = PublicLog(
    LogKind("lastfm", ("play",), (), {"play": ("play",)}, {"play": 1.0}, repeats=True),
    VOCABULARY,
    (
        Form(COLUMNS, lambda _: translated, "timestamp", "s"),
        Form(COLUMNS, lambda _: translated, "timestamp", "s", fields=FIELDS, delimiters=("\t",), quoted=False),
    ),
    ("userid-timestamp-artid-artname-traid-traname.tsv",),
)
