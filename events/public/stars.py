"""Ratings of 1 to 5 stars as actions, by the usual thresholds: 4 stars and more are liked.

Ratings of up to 10 or 100 points are read as half stars: 8 of 10 and more are liked. On which scale a log is, its first
rows tell (``rating_scale.py``): one scale for all of its files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankstream.events.guess import fitting, rating_column
from rankstream.events.public.batches import Batch, Floats, Form, Ints, Translate, floats, named, wire
from rankstream.events.readers.dates import AUTO
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("view", "click", "save", "hide"))
POSITIVES = ("click", "save")
NEGATIVES = ("hide",)
HEADS = {"save": ("save",), "click": ("click", "save"), "view": ("view", "click", "save"), "hide": ("hide",)}
UTILITY = {"click": 1.0, "save": 0.25, "view": 0.25, "hide": -0.25}  # a click or more counts most
POINTS = (5, 10, 100)  # of the scales that ratings come on; the first is that of stars
CODE_OF_STARS = np.array([4, 4, 4, 1, 2, 3], np.int64)  # of 0..5 whole stars


@dataclass(frozen=True)
class Ratings:
    """Makes actions of rows with ratings, in columns of these names; ``points`` are five stars."""

    user_id: str
    item_id: str
    rating: str
    timestamp: str
    points: int = POINTS[0]  # of the best rating

    def __call__(self, skipped: Skipped) -> Translate:
        """Return what translates batches; nothing is left out."""
        return self._translated

    def high(self, batch: Batch) -> float:
        """Return what a tenth of a batch's ratings reach, so that a few wrong ones tell nothing; 0 where none is."""
        ratings = floats(batch, self.rating)
        ratings = np.sort(ratings[~np.isnan(ratings)])
        return float(ratings[-1 - len(ratings) // 10]) if len(ratings) else 0.0

    def _translated(self, batch: Batch) -> Batch:
        codes = codes_of_stars(stars_of(floats(batch, self.rating), self.points))
        return wire(
            user_id=batch.column(self.user_id),
            item_id=batch.column(self.item_id),
            action=named(codes - 1, VOCABULARY.actions),
            timestamp_ms=batch.column(self.timestamp),
        )


def ratings_of(user_id: str, item_id: str, rating: str, timestamp: str, time_unit: str = AUTO, **rows: Any) -> Form:
    """Return the form of ratings in the columns of these names; ``rows`` are ``Form``'s further fields."""
    columns = user_id, item_id, rating, timestamp
    return Form(columns, Ratings(*columns), timestamp, time_unit, **rows)


def points_told(high: float) -> int:
    """Return the scale of ratings of which a tenth reach ``high``: five stars, ten or a hundred points."""
    return next((points for points in POINTS if high <= points), POINTS[0])


def stars_of(ratings: Floats, points: int) -> Floats:
    """Return ratings of up to so many points as stars: of ten or a hundred in halves, rounded down to half a one."""
    if points == POINTS[0]:
        return ratings
    return np.where(ratings > 0, np.maximum(0.5, np.floor(ratings * 10 / points) / 2), 0.0)


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
