"""What a request may ask for of the items that it is answered with."""

import numpy as np
from msgspec import Struct

from rankstream.content.catalogue import Catalogue
from rankstream.content.items import CategoryPath, Price
from rankstream.events.action_event import WireId
from rankstream.features.schema import Bools


class ItemFilters(Struct, frozen=True, omit_defaults=True):
    """What an item must be; all that is given holds at once. An item of which a field is not known does not pass it."""

    category: CategoryPath | None = None  # the item's, or a wider one: ["Shoes"] lets ["Shoes", "Running"] pass
    price_min: Price | None = None  # in the catalogue's currency
    price_max: Price | None = None
    group: WireId | None = None


def passing(filters: ItemFilters, catalogue: Catalogue) -> Bools:
    """Return which items of the catalogue pass, ``(n,)``."""
    passed = np.ones(len(catalogue), np.bool_)
    if filters.category is not None:
        code = catalogue.category_code(filters.category)
        level = len(filters.category) - 1
        passed &= False if code is None else catalogue.categories[:, level] == code
    if filters.price_min is not None:
        passed &= catalogue.prices >= filters.price_min
    if filters.price_max is not None:
        passed &= catalogue.prices <= filters.price_max
    if filters.group is not None:
        code = catalogue.group_code(filters.group)
        passed &= False if code is None else catalogue.groups == code
    return passed


def told(filters: ItemFilters) -> str:
    """Return filters in words."""
    parts = {
        "category": None if filters.category is None else " > ".join(filters.category),
        "price from": filters.price_min,
        "price to": filters.price_max,
        "group": filters.group,
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None) or "none"
