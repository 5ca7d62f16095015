import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rankstream.content.columns import ItemColumns, columns_of, merged
from rankstream.content.items import Item
from rankstream.features.ids import id_key
from tests.builders.catalogue import an_item

PATHS = st.sampled_from([None, ("Shoes",), ("Shoes", "Running"), ("Shoes", "Running", "Trail"), ("Hats",)])
ITEMS = st.builds(
    Item,
    id=st.sampled_from([1, 2, 3, 4, "a", "b", "c"]),
    title=st.none() | st.text(min_size=1, max_size=5),
    category=PATHS,
    price=st.none() | st.floats(0, 100),
    group=st.sampled_from([None, "nike", 7, "7"]),
    created_at_ms=st.none() | st.integers(10**12, 2 * 10**12),
    gone=st.booleans(),
)


def by_key(items: list[Item]) -> dict[int, Item | None]:
    return {id_key(item.id): None if item.gone else item for item in items}


def assert_same(one: ItemColumns, other: ItemColumns) -> None:
    for field in dataclasses.fields(ItemColumns):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if field.name == "paths":
            assert left == right
        else:
            assert (left.dtype, left.shape) == (right.dtype, right.shape), field.name
            np.testing.assert_array_equal(left, right)


def test_items_are_sorted_by_key_and_coded_by_level() -> None:
    running = an_item(5, category="Shoes>Running", price=59.9, group="nike", created_at_ms=10**12)
    columns = columns_of(by_key([running, an_item(2, category="Hats"), an_item(9)]))
    assert columns.keys.tolist() == [2, 5, 9]
    assert columns.paths == (("Hats",), ("Shoes",), ("Shoes", "Running"))
    assert columns.categories.tolist() == [[0, -1], [1, 2], [-1, -1]]
    assert columns.groups.tolist() == [-1, 0, -1]
    assert columns.created_ms.tolist() == [-1, 10**12, -1]
    np.testing.assert_array_equal(columns.prices, [np.nan, 59.9, np.nan])
    assert columns.json(1).startswith(b'{"id":5,')


@given(st.lists(ITEMS, max_size=12), st.lists(ITEMS, max_size=12))
def test_changes_merged_are_the_same_bytes_as_all_items_at_once(before: list[Item], changes: list[Item]) -> None:
    old = columns_of({key: item for key, item in by_key(before).items() if item is not None})
    whole = by_key(before) | by_key(changes)
    expected = columns_of({key: item for key, item in whole.items() if item is not None})
    assert_same(merged(old, by_key(changes)), expected)
