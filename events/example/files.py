"""The example's log as a shop exports it: CSV, JSON lines or Parquet, by the file's ending.

::

    event_time,event_type,product_id,category,price,customer_id
    2023-10-02 07:41:22 UTC,view,007312,coffee.beans,12.99,40021
    2023-10-02 07:41:53 UTC,cart,007312,coffee.beans,12.99,             <- a customer who is not known

Column names, dates and ids are deliberately not those of the wire: a shop's are not, either.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np

from rankstream.events.example.sessions import EVENT_TYPES, ExampleLog
from rankstream.events.example.shop import CATEGORIES
from rankstream.features.files import whole_file

COLUMNS = ("event_time", "event_type", "product_id", "category", "price", "customer_id")
ENDINGS = (".csv", ".csv.gz", ".jsonl", ".parquet")

Line = tuple[str, str, str, str, float, str | None]


class EndingError(ValueError):
    """A file name with an ending that the example is not written in; the message lists those that are."""


def check_ending(path: Path) -> str:
    """Return which of ``ENDINGS`` a file has. Raises ``EndingError``."""
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise EndingError(f"{path} ends with {path.suffix or 'nothing'}; the example is written as {', '.join(ENDINGS)}")


def write_example(log: ExampleLog, path: Path) -> None:
    """Write a log to a file, whole or not at all. Raises ``EndingError``, or ``ImportError`` if pyarrow is missing."""
    ending = check_ending(path)
    with whole_file(path) as beside:
        if ending == ".parquet":
            _write_parquet(log, beside)
            return
        with beside.open("wb") as file:
            write = write_json_lines if ending == ".jsonl" else write_csv
            if ending == ".csv.gz":
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:  # no name, no time: a seed is a file
                    write(log, cast(IO[bytes], packed))
            else:
                write(log, file)


def write_csv(log: ExampleLog, file: IO[bytes]) -> None:
    """Write a heading and a row a line; a customer who is not known is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_lines(log))
    text.detach()


def write_json_lines(log: ExampleLog, file: IO[bytes]) -> None:
    """Write an object a line; a customer who is not known is null."""
    for line in _lines(log):
        file.write(json.dumps(dict(zip(COLUMNS, line, strict=True))).encode() + b"\n")


def _write_parquet(log: ExampleLog, path: Path) -> None:
    """Write a column a field, times as timestamps with a zone."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = dict(zip(COLUMNS, map(list, zip(*_lines(log), strict=True)), strict=True))
    seconds = pa.array(log.times_ms // 1000, pa.timestamp("s", tz="UTC"))
    parquet.write_table(pa.table({**columns, "event_time": seconds}), path)


def _lines(log: ExampleLog) -> Iterator[Line]:
    """Yield the rows as ``COLUMNS`` has them."""
    products, customers = log.products, [*log.customers.ids, None]  # the last one is -1's
    times = np.datetime_as_string((log.times_ms // 1000).astype("datetime64[s]")).tolist()
    rows = zip(times, log.types.tolist(), log.product.tolist(), log.customer.tolist(), strict=True)
    for time, event, product, customer in rows:
        yield (
            f"{time.replace('T', ' ')} UTC",
            EVENT_TYPES[event],
            products.ids[product],
            CATEGORIES[products.category[product]].name,
            float(products.price[product]),
            customers[customer],
        )
