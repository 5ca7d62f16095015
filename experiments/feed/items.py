"""What a shop would export of the items of a log: a catalogue a log, of nothing but what was known before the test.

Prices are what the items cost in the first half of the log; counters that were published with a log are left out, as
they are of the whole of it.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rankstream.content.catalogue import Catalogue
from rankstream.content.items import Item

EPOCH_YEAR = 1970  # times are not before it
PRICED_SHARE = 0.5  # of the rows of a log, its first ones, that tell prices


def catalogue_of(log: str, data: Path) -> Catalogue:
    """Return the catalogue of a log of ``MAKES``, from the folder of all logs."""
    return Catalogue.of(list(MAKES[log](data)))


def ml_small(data: Path) -> Iterable[Item]:
    """Yield films with their genres and the year of their title."""
    for film in _rows(data / "ml_latest_small_posters/movies.parquet", ["movie_id", "title", "year", "genres"]):
        yield Item(
            film["movie_id"],
            title=film["title"],
            collections=tuple(film["genres"] or ()),
            created_at_ms=_first_of(film["year"]),
        )


def ml1m(data: Path) -> Iterable[Item]:
    """Yield films with their genres and the year of their title."""
    for film in _rows(data / "ml1m_sasrec/movies.parquet", ["movie", "title", "genres"]):
        year = int(film["title"].rpartition("(")[2][:4])
        yield Item(
            film["movie"], title=film["title"], collections=tuple(film["genres"].split("|")),
            created_at_ms=_first_of(year),
        )  # fmt: skip


def kuairand(data: Path) -> Iterable[Item]:
    """Yield videos with their tags, author and day of upload."""
    columns = ["video_id", "tag", "author_id", "upload_type", "upload_dt"]
    for video in _rows(data / "kuairand_pure_part/videos.parquet", columns):
        uploaded = np.datetime64(video["upload_dt"][:10], "ms") if video["upload_dt"] else None
        yield Item(
            video["video_id"],
            category=(video["upload_type"],) if video["upload_type"] else None,
            group=video["author_id"],
            collections=tuple(video["tag"].split(",")) if video["tag"] else (),
            created_at_ms=None if uploaded is None else int(uploaded.astype(np.int64)),
        )


def completejourney(data: Path) -> Iterable[Item]:
    """Yield products with department, category and type as a path, maker, and price."""
    log = pq.read_table(
        data / "completejourney/transactions.parquet", columns=["product_id", "quantity", "sales_value"]
    )
    log = log.filter(pc.and_(pc.greater(log["quantity"], 0), pc.greater(log["sales_value"], 0)))
    prices = _prices(log["product_id"].to_numpy(), pc.divide(log["sales_value"], log["quantity"]).to_numpy())
    levels = ("department", "product_category", "product_type")
    for product in _rows(data / "completejourney/products.parquet", ["product_id", "manufacturer_id", *levels]):
        path = tuple(product[level] for level in levels if product[level])
        yield Item(
            product["product_id"], category=path or None, group=product["manufacturer_id"],
            price=prices.get(product["product_id"]),
        )  # fmt: skip


def online_retail(data: Path) -> Iterable[Item]:
    """Yield goods with their price and first sale; there is no category but the last word of the name."""
    log = pq.read_table(data / "uci_online_retail/events.parquet", columns=["item_id", "unit_price", "kind"])
    log = log.filter(pc.and_(pc.equal(log["kind"], "purchase"), pc.greater(log["unit_price"], 0)))
    prices = _prices(log["item_id"].to_numpy(zero_copy_only=False), log["unit_price"].to_numpy())
    for good in _rows(data / "uci_online_retail/items.parquet", ["item_id", "name", "first_sale"]):
        yield Item(
            good["item_id"], title=good["name"], category=(good["name"].split()[-1],) if good["name"] else None,
            price=prices.get(good["item_id"]),
            created_at_ms=int(np.datetime64(good["first_sale"], "ms").astype(np.int64)) if good["first_sale"] else None,
        )  # fmt: skip


MAKES: dict[str, Callable[[Path], Iterable[Item]]] = {
    made.__name__: made for made in (ml_small, ml1m, kuairand, completejourney, online_retail)
}


def _rows(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return found


def _first_of(year: int | None) -> int | None:
    """Return the first millisecond of a year; None before times begin."""
    return None if year is None or year < EPOCH_YEAR else int(np.datetime64(f"{year}-01-01", "ms").astype(np.int64))


def _prices(items: np.ndarray[Any, Any], prices: np.ndarray[Any, Any]) -> dict[Any, float]:
    """Return the median price of each item in the first rows of a log."""
    first = slice(0, int(len(items) * PRICED_SHARE))
    names, which = np.unique(items[first], return_inverse=True)
    order = np.lexsort((prices[first], which))
    counts = np.bincount(which)
    middles = np.cumsum(counts) - counts + counts // 2
    return dict(zip(names.tolist(), prices[first][order][middles].tolist(), strict=True))
