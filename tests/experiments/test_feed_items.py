"""Catalogues of the feed's logs: nothing in them that was not known before the test."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rankstream.experiments.feed.items import catalogue_of


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_films_have_genres_and_the_year_of_their_title(tmp_path):
    write(
        tmp_path / "ml1m_sasrec" / "movies.parquet",
        movie=[1, 2], title=["Toy Story (1995)", "Metropolis (1926)"], genres=["Animation|Comedy", "Sci-Fi"],
    )  # fmt: skip
    toys, metropolis = catalogue_of("ml1m", tmp_path).items([0, 1])
    assert toys.collections == ("Animation", "Comedy")
    assert toys.created_at_ms == np.datetime64("1995-01-01", "ms").astype(int)
    assert metropolis.created_at_ms is None  # times begin in 1970


def test_prices_are_those_of_a_logs_first_half(tmp_path):
    folder = tmp_path / "completejourney"
    write(
        folder / "transactions.parquet", product_id=[1, 1, 1, 2, 1, 1, 1, 3],
        quantity=[1, 2, 1, 1, 1, 1, 1, 1], sales_value=[2.0, 4.0, 2.5, 1.0, 9.0, 9.0, 9.0, 9.0],
    )  # fmt: skip
    write(
        folder / "products.parquet", product_id=[1, 2, 3], manufacturer_id=[7, 7, 8], department=["FOOD"] * 3,
        product_category=["ICE", "ICE", None], product_type=["CUBED", None, None],
    )  # fmt: skip
    catalogue = catalogue_of("completejourney", tmp_path)
    assert catalogue.prices.tolist()[:2] == [2.0, 1.0]
    assert np.isnan(catalogue.prices[2])  # first sold in the second half
    assert [item.category for item in catalogue.items(range(3))] == [
        ("FOOD", "ICE", "CUBED"),
        ("FOOD", "ICE"),
        ("FOOD",),
    ]
