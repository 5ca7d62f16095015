import numpy as np
import pytest

from rankstream.content.filters import ItemFilters, passing, told
from tests.builders.catalogue import a_catalogue, an_item

CATALOGUE = a_catalogue(
    an_item(1, category="Shoes>Running", price=50.0, group="nike"),
    an_item(2, category="Shoes", price=90.0, group="asics"),
    an_item(3, category="Hats>Shoes", price=20.0),
    an_item(4),
)


@pytest.mark.parametrize(
    ("filters", "passed"),
    [
        (ItemFilters(), [1, 2, 3, 4]),
        (ItemFilters(category=("Shoes",)), [1, 2]),
        (ItemFilters(category=("Shoes", "Running")), [1]),
        (ItemFilters(category=("Running",)), []),
        (ItemFilters(price_min=20.0, price_max=50.0), [1, 3]),
        (ItemFilters(price_min=51.0), [2]),
        (ItemFilters(group="asics"), [2]),
        (ItemFilters(group="adidas"), []),
        (ItemFilters(category=("Shoes",), price_max=60.0, group="nike"), [1]),
    ],
    ids=lambda value: told(value) if isinstance(value, ItemFilters) else "",
)
def test_an_item_passes_that_is_all_of_what_was_asked_for(filters: ItemFilters, passed: list[int]) -> None:
    assert CATALOGUE.keys[np.flatnonzero(passing(filters, CATALOGUE))].tolist() == passed
