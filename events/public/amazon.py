"""Amazon reviews as actions, by their stars as MovieLens' ratings (``stars.py``).

As published: reviews of 2014 and 2018 as JSON lines (``reviewerID, asin, overall, unixReviewTime`` in seconds), those
of 2023 as JSON lines (``user_id, parent_asin, rating, timestamp`` in ms; an item is what its colours and sizes have in
common, ``parent_asin``), and the ratings alone: of 2014 and 2018 without a heading, of 2023 with one.
"""

from rankstream.events.log_kind import LogKind
from rankstream.events.public import stars
from rankstream.events.public.batches import Form, PublicLog

OF_2014 = ("reviewerID", "asin", "overall", "unixReviewTime")
OF_2023 = ("user_id", "parent_asin", "rating", "timestamp")
RATINGS = ("user", "item", "rating", "timestamp")
USER, ITEM, STARS, SECONDS = r"A[0-9A-Z]{9,20}", r"B[0-9A-Z]{9}|\d{9}[\dX]", r"[1-5](\.0)?", r"\d{9,10}"

LOG = PublicLog(
    LogKind("amazon", stars.POSITIVES, stars.NEGATIVES, stars.HEADS, stars.UTILITY),
    stars.VOCABULARY,
    (
        Form(OF_2014, lambda: stars.translation_of(*OF_2014), "s"),
        Form(OF_2023, lambda: stars.translation_of(*OF_2023), "ms"),
        Form(  # 2014: the user first
            RATINGS,
            lambda: stars.translation_of(*RATINGS),
            "s",
            fields=(("user", USER), ("item", ITEM), ("rating", STARS), ("timestamp", SECONDS)),
        ),
        Form(  # 2018: the item first
            RATINGS,
            lambda: stars.translation_of(*RATINGS),
            "s",
            fields=(("item", ITEM), ("user", USER), ("rating", STARS), ("timestamp", SECONDS)),
        ),
    ),
)
