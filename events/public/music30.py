r"""30Music's plays as actions: each is a ``play``, its value the seconds listened; 30 s and more make a ``listen``.

As published, ``events.idomaar`` has a play a line, ``sessions.idomaar`` a session with its plays::

    event.play\t17\t1421497201\t{"playtime":285}\t{"subjects":[{"type":"user","id":7}],"objects":[{"type":"track","id":9}]}
    event.session\t3\t1421497201\t{"numtracks":1} {"subjects":[...],"objects":[{"id":9,"playstart":0,"playtime":285}]}
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from rankstream.events.log_kind import LogKind
from rankstream.events.public.batches import Batch, Form, PublicLog, Translate, floats, known, named, wire
from rankstream.events.readers.rows import PROBLEM
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("play", "listen"))
POSITIVES = ("listen",)
NEGATIVES = ()
KIND = LogKind(
    "30music",
    POSITIVES,
    NEGATIVES,
    {"play": ("play", "listen"), "listen": ("listen",)},
    {"listen": 1.0, "play": 0.25},  # a song that is left within half a minute was played, too
    repeats=True,
)
LISTENED_S = 30.0  # what the music trade counts as a stream
COLUMNS = ("user_id", "song_id", "ts", "playtime")
RELATIONS = b'{"subjects"'


def translation(skipped: Skipped) -> Translate:
    """Return the translation of a pass, which counts play times that are negative: they are no value."""
    return lambda batch: translated(batch, skipped)


def translated(batch: Batch, skipped: Skipped) -> Batch:
    """Return a batch in the wire's columns."""
    seconds = floats(batch, "playtime")
    if (negative := seconds < 0).any():
        example = f"playtime is {seconds[negative.argmax()]:g}"
        skipped.ignore("value: a negative play time, read as none", example, count=int(negative.sum()))
    return wire(
        user_id=batch.column("user_id"),
        item_id=batch.column("song_id"),
        action=named((seconds >= LISTENED_S).astype(np.int64), VOCABULARY.actions),
        timestamp_ms=batch.column("ts"),
        value=known(seconds, seconds >= 0),  # negative and missing play times exist: no value
    )


def plays_of(line: bytes) -> Iterator[dict[str, Any]]:
    """Yield the plays of a line of ``events.idomaar`` or ``sessions.idomaar``; a row with the reason for any other."""
    try:
        kind, _, at_s, rest = line.split(b"\t", 3)
        properties, start, relations = rest.partition(RELATIONS)
        of_play, of_both = _decode(properties), _decode(start + relations)
        user = of_both["subjects"][0]["id"]
        for track in of_both["objects"]:
            seconds = track.get("playtime") if kind == b"event.session" else of_play.get("playtime")
            starts_s = int(at_s) + int(track.get("playstart") or 0)
            yield {"user_id": user, "song_id": track["id"], "ts": starts_s, "playtime": seconds}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        yield {PROBLEM: "the line is no play and no session of 30Music"}


_decode = msgspec.json.Decoder().decode

LOG = PublicLog(
    KIND,
    VOCABULARY,
    (
        Form(COLUMNS, translation, "ts", "s"),
        Form(COLUMNS, translation, "ts", "s", ending=".idomaar", parse=plays_of),
    ),
    ("plays.parquet", "events.idomaar", "sessions.idomaar"),
)
