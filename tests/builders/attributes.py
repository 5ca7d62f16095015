"""Attributes of items for tests: a shop of shoes and hats."""

from rankstream.features.attributes.columns import attribute_columns, column_names
from rankstream.features.attributes.table import ItemAttributes
from rankstream.features.ids import id_keys
from rankstream.features.user_view import UserView
from rankstream.models.items.attributes import item_attributes
from tests.builders.catalogue import DAY_MS, NOW_MS, a_catalogue, an_item
from tests.builders.models import a_log

SHOP = a_catalogue(
    an_item("trail", category="Shoes>Running", price=80.0, group="a", collections=("summer",), created_at_ms=NOW_MS),
    an_item("road", category="Shoes>Running", price=100.0, group="a", created_at_ms=NOW_MS - 10 * DAY_MS),
    an_item("boot", category="Shoes>Winter", price=200.0, group="b", collections=("winter", "sale")),
    an_item("boot2", category="Shoes>Winter", price=200.0, group="b", collections=("winter",)),
    an_item("cap", category="Hats", price=20.0, collections=("summer", "sale")),
    an_item("beanie", category="Hats", price=20.0, collections=("winter",)),
)


def shop_attributes() -> ItemAttributes:
    """What the shop's items are, after a log in which shoes were bought three times as often as hats."""
    bought = ["trail", "road", "boot", "trail", "boot2", "road", "cap", "beanie"]
    return item_attributes(SHOP, a_log([("u", item, "save", at) for at, item in enumerate(bought)]))


def columns_of(user: UserView, candidates: list[str], attributes: ItemAttributes) -> dict[str, list[float]]:
    """The columns of candidates by name."""
    found = attribute_columns(user, id_keys(candidates), attributes)
    return {name: found[:, at].tolist() for at, name in enumerate(column_names(attributes.names))}
