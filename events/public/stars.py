"""Ratings of 1 to 5 stars as actions, by the usual thresholds: 4 stars and more are liked."""

from typing import Any

import numpy as np

from rankstream.events.public.batches import Batch, Translate, floats, named, wire
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("view", "click", "save", "hide"))
POSITIVES = ("click", "save")
NEGATIVES = ("hide",)
HEADS = {"save": ("save",), "click": ("click", "save"), "view": ("view", "click", "save"), "hide": ("hide",)}
UTILITY = {"click": 1.0, "save": 0.25, "view": 0.25, "hide": -0.25}  # a click or more counts most
CODE_OF_STARS = np.array([4, 4, 4, 1, 2, 3], np.int64)  # of 0..5 whole stars


def translation_of(user_id: str, item_id: str, rating: str, timestamp: str) -> Translate:
    """Return a translation of the columns of these names into the wire's."""

    def translated(batch: Batch) -> Any:
        return wire(
            user_id=batch.column(user_id),
            item_id=batch.column(item_id),
            action=named(codes_of_stars(floats(batch, rating)) - 1, VOCABULARY.actions),
            timestamp_ms=batch.column(timestamp),
        )

    return translated


def codes_of_stars(stars: "np.typing.NDArray[np.float64]") -> "np.typing.NDArray[np.int64]":
    """Return the action's code of ratings ``(n,)`` from half a star to five, 0 for what is no rating.

    Half a star counts as the whole one below, so that the thresholds are those of whole stars: 4.5 is a ``click``, 2.5
    a ``hide``, and so is half a star.
    """
    halves = (stars >= 0.5) & (stars <= 5) & (stars * 2 == np.round(stars * 2))
    return np.where(halves, CODE_OF_STARS[np.where(halves, stars, 0).astype(np.int64)], 0)
