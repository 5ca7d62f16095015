"""Which column holds which field of an action, where a log does not call them as the wire does.

::

    visitor, sku, event, created_at   ->   user_id: visitor, item_id: sku, action: event, timestamp_ms: created_at

A name is compared without its case, and without ``_``, ``-``, ``.`` and spaces. Nothing is guessed for a field that two
columns fit, and neither a price nor a quantity is guessed to be an action's ``value``: which of them it is, if any, a
name doesn't say.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import product

NUMBERED = (  # endings of a name of ids
    "", "id", "code", "key", "no", "number", "uuid", "guid", "hash", "idhash", "uri",
)  # fmt: skip
KINDS = ("", "type", "name", "kind")  # endings of a name of actions
UNITS = ("", "ms", "s", "sec", "secs", "seconds", "millis", "us", "micros", "ns", "nanos", "utc")  # of a name of times

USERS = (
    "user", "usr", "customer", "cust", "client", "visitor", "member", "account", "uid", "reviewer", "shopper", "buyer",
    "consumer", "subscriber", "listener", "viewer", "reader", "player", "guest", "patron", "household", "person",
    "profile", "sessionuser", "customeruser", "customerunique",
)  # fmt: skip
ITEMS = (
    "item", "product", "prod", "sku", "asin", "track", "movie", "film", "video", "article", "song", "book", "isbn",
    "document", "offer", "listing", "goods", "game", "app", "anime", "episode", "recipe", "course", "news", "clip",
    "hotel", "poi", "venue", "gtin", "ean", "upc",
)  # fmt: skip
WORDS = ("name", "title", "description")  # endings of a name of what items are called: an id where there is no other
ONLY_NUMBERED = ("content", "stock", "show", "post", "doc")  # by themselves they are texts, or amounts
MAYBE_ITEMS = ("job", "vacancy", "question", "exercise", "problem", "lesson", "photo", "repo", "repository")
LINES = ("lineitemsku", "lineitemid", "lineitemproductid")  # of orders with several lines
LOGINS = ("email", "emailaddress", "mail", "useremail", "customeremail", "username", "userlogin", "login", "nickname")
ACTIONS = ("action", "event", "behavior", "behaviour", "interaction", "activity", "useraction", "userbehavior", "verb")
TIMES = (
    "ts", "time", "timestamp", "date", "dt", "datetime", "eventtime", "eventtimestamp", "eventdate", "eventts",
    "eventdatetime", "actiontime", "created", "createdat", "createtime", "unixtime", "unixtimestamp", "epoch",
    "unixreviewtime", "reviewtime", "occurredat", "happenedat", "when", "visittime", "clicktime", "logtime",
    "servertime", "playedat", "listenedat", "watchedat", "orderdate", "ordertime", "purchasedate", "purchasetime",
    "invoicedate", "transactiondate", "transactiontime", "ratingtime", "tstamp", "tdat",
)  # fmt: skip
DEEDS = (
    "action", "activity", "add", "added", "application", "applied", "apply", "buy", "checkin", "click", "clicked",
    "creation", "event", "interaction", "listen", "log", "order", "orderpurchase", "play", "post", "posted", "purchase",
    "purchased", "rated", "rating", "read", "request", "review", "start", "started", "stream", "transaction", "utc",
    "view", "viewed", "visit", "watch", "watched",
)  # fmt: skip
CLOCKS = ("timestamp", "datetime", "date", "time", "dt", "ts", "at", "tstamp", "unixtime")
LISTS = ("list", "request", "slate", "feed", "search", "query", "pageview", "impressionlist")  # what was shown at once
RATINGS = ("rating", "ratings", "stars", "star", "starrating", "score", "overall")

MADE = ("created", "createdat", "createtime")  # of a record, which may be the action's, the item's or the user's
RECORDED = ("add", "added", "creation", "post", "posted", "start", "started")  # deeds of which the same holds

Names = frozenset[str]


def _with(words: Iterable[str], endings: Iterable[str]) -> Names:
    return frozenset("".join(pair) for pair in product(words, endings))


# Each field's usual names; those after the first set count only where none of it is there.
SYNONYMS: Mapping[str, tuple[Names, ...]] = {
    "user_id": (
        _with(USERS, NUMBERED),
        frozenset(LOGINS),
        _with(
            (
                "session",
                "usersession",
                "visit",
                "cookie",
                "device",
                "browser",
                "anonymous",
                "distinct",
                "fullvisitor",
                "userpseudo",
            ),
            NUMBERED,
        ),
    ),
    "item_id": (
        _with(ITEMS, NUMBERED) | _with(ONLY_NUMBERED, NUMBERED[1:]) | frozenset(LINES),
        _with(("artist", "album", "business", "restaurant", "place", "location", "page", "url", "ad"), NUMBERED),
        _with(map("".join, product(DEEDS, ITEMS)), NUMBERED[1:]) | _with(MAYBE_ITEMS, NUMBERED[1:]),
        _with(ITEMS, WORDS),
    ),
    "action": (_with(ACTIONS, KINDS), frozenset({"type"})),
    "timestamp_ms": (
        _with(TIMES, UNITS),
        _with(map("".join, (*product(DEEDS, CLOCKS), *product(CLOCKS, DEEDS))), UNITS) - _with(TIMES, UNITS),
    ),
    "surface": (frozenset({"surface"}),),
    "value": (frozenset({"value"}),),
    "arrived_ms": (frozenset({"arrivedms", "arrivedat"}),),
    "list_id": (_with(LISTS, ("id", "uuid")),),
    "position": (frozenset({"position", "pos", "rank", "slot", "listposition", "displayposition"}),),
}


_OF_RECORDS = _with((*MADE, *map("".join, (*product(RECORDED, CLOCKS), *product(CLOCKS, RECORDED)))), UNITS)
_NAMES_OF_DEEDS = (*map("".join, (*product(DEEDS, CLOCKS), *product(CLOCKS, DEEDS))), "playedat", "listenedat")
_OF_DEEDS = _with((*_NAMES_OF_DEEDS, "watchedat", "happenedat", "occurredat"), UNITS) - _OF_RECORDS


def is_of_a_record(column: str) -> bool:
    """Return whether a name is of the time at which a record was made: of an action, but maybe of an item or a user."""
    return plain_name(column) in _OF_RECORDS


def is_of_a_deed(column: str) -> bool:
    """Return whether a name is of the time of what a user did."""
    return plain_name(column) in _OF_DEEDS


def plain_name(column: str) -> str:
    """Return a column's name as it is compared; RecBole's ``user_id:token`` is called user_id."""
    return re.sub(r"[\s_.\-]", "", column.partition(":")[0]).lower()


def names_a_field(column: str) -> bool:
    """Return whether a text is a usual name of a field."""
    plain = plain_name(column)
    return plain in RATINGS or any(plain in names for sets in SYNONYMS.values() for names in sets)


def rating_column(columns: Collection[str]) -> str | None:
    """Return the column that holds ratings by its name; None if there is none."""
    return next((column for column in columns if plain_name(column) in RATINGS), None)


def fitting(columns: Collection[str], fields: Collection[str], taken: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the columns that each of ``fields`` may be in by their names; columns ``taken`` fit no other field."""
    free = [column for column in columns if column not in taken]
    found: dict[str, list[str]] = {}
    for name in fields:
        fits: list[str] = []
        for synonyms in SYNONYMS.get(name, ()):
            fits += [column for column in free if plain_name(column) in synonyms]
            if not all(map(is_of_a_record, fits)):  # created_at beside click_timestamp leaves a question
                break
        if fits:
            found[name] = fits
    return found
