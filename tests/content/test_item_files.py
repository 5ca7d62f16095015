from pathlib import Path

import pytest

from rankstream.content.item_files import ItemOptions, ReadItems, read_items
from rankstream.content.items import Item
from rankstream.events.arrivals import LogError
from tests.builders.catalogue import NOW_MS


def read(path: Path, text: str, **options: object) -> ReadItems:
    path.write_text(text)
    return read_items(path, ItemOptions(**options), NOW_MS)  # type: ignore[arg-type]


def items_of(found: ReadItems) -> dict[object, Item]:
    return {item.id: item for item in found.catalogue.items(range(len(found.catalogue)))}


def test_a_shop_export_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    text = "sku;name;breadcrumb;price;currency;brand;added\na7;Trail X;Shoes > Running;59,90;eur;nike;2023-03-01\n"
    found = read(tmp_path / "items.csv", text, columns={"created_at_ms": "added"})
    expected = Item(
        "a7", "Trail X", category=("Shoes", "Running"), price=59.9, currency="EUR", group="nike",
        created_at_ms=1_677_628_800_000,
    )  # fmt: skip
    assert items_of(found) == {"a7": expected}
    assert found.catalogue.currency == "EUR"
    assert "id is sku" in found.notes[0]


def test_prices_are_read_in_the_currency_that_they_name(tmp_path: Path) -> None:
    found = read(tmp_path / "items.csv", "id;price\na;1.299,00 €\nb;12,90 EUR\nc;7\n")
    assert {item.id: item.price for item in items_of(found).values()} == {"a": 1299.0, "b": 12.9, "c": 7.0}
    assert found.catalogue.currency == "EUR"
    with pytest.raises(LogError, match=r"several currencies \(1 in EUR, 1 in USD\).*choose one with --currency"):
        read(tmp_path / "items.csv", "id;price\na;1.299,00 €\nb;$5\n")


def test_a_category_may_lie_in_several_columns(tmp_path: Path) -> None:
    text = "id,department,aisle,shelf\n1,Food,Dairy,Milk\n2,Food,,Odd\n3,,,\n"
    found = items_of(read(tmp_path / "items.csv", text, columns={"category": "department > aisle>shelf"}))
    assert [found[n].category for n in (1, 2, 3)] == [("Food", "Dairy", "Milk"), ("Food",), None]
    with pytest.raises(LogError, match="no column floor"):
        read(tmp_path / "items.csv", text, columns={"category": "department>floor"})


def test_json_lines_are_read_as_the_wire_has_them(tmp_path: Path) -> None:
    line = '{"id": 7, "category": ["Films", "Noir"], "collections": ["x", 2], "title": "M"}\n{"id": 8, "gone": true}\n'
    found = read(tmp_path / "items.jsonl", line)
    assert items_of(found) == {7: Item(7, "M", category=("Films", "Noir"), collections=("x", 2))}
    assert found.gone == 1


def test_parquet_is_read_with_its_lists_and_dates(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = {
        "item_id": [1, 2],
        "category": [["A", "B"], None],
        "price": [1.5, float("nan")],
        "created_at_ms": [NOW_MS] * 2,
    }
    parquet.write_table(pa.table(table), tmp_path / "items.parquet")
    found = items_of(read_items(tmp_path / "items.parquet", ItemOptions(), NOW_MS))
    assert found[1] == Item(1, category=("A", "B"), price=1.5, created_at_ms=NOW_MS)
    assert found[2].price is None


def test_of_rows_with_one_id_the_last_counts_and_is_counted(tmp_path: Path) -> None:
    found = read(tmp_path / "items.csv", "id,title\n1,old\n2,x\n1,new\n")
    assert items_of(found)[1].title == "new"
    assert found.skipped.most_common_ignored()[0][1] == 1


def test_a_row_without_an_id_is_skipped_and_a_field_that_can_not_be_read_is_none(tmp_path: Path) -> None:
    found = read(tmp_path / "items.csv", "id,title,price\n,x,1\nb,y,cheap\nc,z,3\nd,w,-4\n")
    assert found.skipped.by_kind() == {"schema: no id": 1}
    assert {item.price for item in items_of(found).values()} == {None, 3.0}
    assert found.skipped.ignored["price: can't be read, taken as none"].count == 2


def test_several_currencies_are_refused_in_a_sentence_unless_one_is_chosen(tmp_path: Path) -> None:
    text = "id,price,currency\na,1,EUR\nb,2,USD\nc,3,EUR\n"
    with pytest.raises(LogError, match=r"2 in EUR, 1 in USD.*--currency"):
        read(tmp_path / "items.csv", text)
    found = read(tmp_path / "items.csv", text, currency="EUR")
    assert {item.id: item.price for item in items_of(found).values()} == {"a": 1.0, "b": None, "c": 3.0}
    assert found.skipped.total() == 0


def test_parents_of_categories_are_not_read_and_that_is_said(tmp_path: Path) -> None:
    found = read(tmp_path / "items.csv", "id,category,parent_id\na,Shoes,12\nb,Hats,3\n")
    assert "parent_id is not read; categories are paths" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title,price\nx,1\n", "no column id; it has title, price"),
        ("id,title\n", "holds no item"),
        ("", "is empty: it has no rows, and no columns; give another file"),
        ("id,title\n,a\n,b\nc,d\n", "2 of the 3 rows"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LogError, match=says):
        read(tmp_path / "items.csv", text)


def test_a_time_that_can_not_be_meant_is_left_out(tmp_path: Path) -> None:
    found = read(tmp_path / "items.csv", "id,created_at\na,1931-05-11\nb,2023-01-01\n")
    assert [item.created_at_ms for item in items_of(found).values()].count(None) == 1


@pytest.mark.parametrize(
    "text", ['{"id": 1, "category": [[], "a"]}', '{"id": 1, "price": [1, 2]}', '{"id": 1, "price": 1%s}']
)
def test_a_field_of_another_kind_is_taken_as_none_and_counted(tmp_path: Path, text: str) -> None:
    found = read(tmp_path / "items.jsonl", text.replace("%s", "0" * 400))
    assert items_of(found) == {1: Item(1)}
    assert "can't be read, taken as none" in str(found.skipped.most_common_ignored())


def test_a_category_of_brackets_without_end_is_taken_as_none(tmp_path: Path) -> None:
    assert items_of(read(tmp_path / "items.csv", f"id,category\n1,{'[' * 2_000}\n")) == {1: Item(1)}


def test_whole_numbers_are_names_of_categories(tmp_path: Path) -> None:
    assert items_of(read(tmp_path / "items.jsonl", '{"id": 1, "category": 2024}'))[1].category == ("2024",)


def test_a_row_with_a_name_of_nul_is_no_row(tmp_path: Path) -> None:
    found = read(tmp_path / "items.jsonl", '{"id": 1}\n{"id": 2, "\\u0000": 5}')
    assert (list(items_of(found)), found.skipped.total()) == ([1], 1)
