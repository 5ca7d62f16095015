"""Amazon reviews as actions, by their stars as MovieLens' ratings (``stars.py``).

As published: reviews of 2014 and 2018 as JSON lines (``reviewerID, asin, overall, unixReviewTime`` in seconds), those
of 2023 as JSON lines (``user_id, parent_asin, rating, timestamp`` in ms; an item is what its colours and sizes have in
common, ``parent_asin``), and the ratings alone: of 2014 and 2018 without a heading, of 2023 with one.
"""

from rankstream.events.log_kind import LogKind
from rankstream.events.public import stars
from rankstream.events.public.batches import PublicLog

OF_2014 = ("reviewerID", "asin", "overall", "unixReviewTime")
OF_2023 = ("user_id", "parent_asin", "rating", "timestamp")
RATINGS = ("user", "item", "rating", "timestamp")
USER, ITEM = ("user", r"A[0-9A-Z]{9,20}"), ("item", r"B[0-9A-Z]{9}|\d{9}[\dX]")
STARS, SECONDS = ("rating", r"[1-5](\.0)?"), ("timestamp", r"\d{9,10}")

LOG = PublicLog(
    LogKind("amazon", stars.POSITIVES, stars.NEGATIVES, stars.HEADS, stars.UTILITY),
    stars.VOCABULARY,
    (
        stars.ratings_of(*OF_2014),
        stars.ratings_of(*OF_2023),
        stars.ratings_of(*RATINGS, "s", fields=(USER, ITEM, STARS, SECONDS)),  # 2014
        stars.ratings_of(*RATINGS, "s", fields=(ITEM, USER, STARS, SECONDS)),  # 2018
    ),
    like=stars.ratings_by_name,
)
