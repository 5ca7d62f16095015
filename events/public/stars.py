"""Ratings of 1 to 5 stars as actions, by the usual thresholds: 4 stars and more are liked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rankstream.events.guess import fitting, rating_column
from rankstream.events.public.batches import Batch, Floats, Form, Ints, floats, named, wire
from rankstream.events.readers.dates import AUTO
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("view", "click", "save", "hide"))
POSITIVES = ("click", "save")
NEGATIVES = ("hide",)
HEADS = {"save": ("save",), "click": ("click", "save"), "view": ("view", "click", "save"), "hide": ("hide",)}
UTILITY = {"click": 1.0, "save": 0.25, "view": 0.25, "hide": -0.25}  # a click or more counts most
CODE_OF_STARS = np.array([4, 4, 4, 1, 2, 3], np.int64)  # of 0..5 whole stars


def ratings_of(user_id: str, item_id: str, rating: str, timestamp: str, time_unit: str = AUTO, **rows: Any) -> Form:
    """Return the form of ratings in the columns of these names; ``rows`` are ``Form``'s further fields."""

    def translated(batch: Batch) -> Batch:
        return wire(
            user_id=batch.column(user_id),
            item_id=batch.column(item_id),
            action=named(codes_of_stars(floats(batch, rating)) - 1, VOCABULARY.actions),
            timestamp_ms=batch.column(timestamp),
        )

    return Form((user_id, item_id, rating, timestamp), lambda _: translated, timestamp, time_unit, **rows)


def ratings_by_name(columns: Sequence[str]) -> Form | None:
    """Return the form of ratings in columns of usual names; None unless one column fits each field."""
    fits = fitting(columns, ("user_id", "item_id", "timestamp_ms"))
    rating = rating_column(columns)
    if len(fits) < 3 or any(len(found) > 1 for found in fits.values()) or rating is None:
        return None
    return ratings_of(fits["user_id"][0], fits["item_id"][0], rating, fits["timestamp_ms"][0])


def codes_of_stars(stars: Floats) -> Ints:
    """Return the action's code of ratings ``(n,)`` from half a star to five, 0 for what is no rating.

    Half a star counts as the whole one below, so that the thresholds are those of whole stars: 4.5 is a ``click``, 2.5
    a ``hide``, and so is half a star.
    """
    halves = (stars >= 0.5) & (stars <= 5) & (stars * 2 == np.round(stars * 2))
    return np.where(halves, CODE_OF_STARS[np.where(halves, stars, 0).astype(np.int64)], 0)
