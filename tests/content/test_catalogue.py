from pathlib import Path

import msgspec
import numpy as np
import pytest

from rankstream.content.catalogue import Catalogue, publish
from rankstream.content.files import CatalogueHeader
from rankstream.content.live import LiveCatalogue
from rankstream.features.embeddings.files import BrokenTableError, Header
from rankstream.features.ids import id_keys
from rankstream.features.interests.table import InterestsHeader
from rankstream.features.item_counts.files import CountsHeader
from rankstream.graph.item_graph import GraphHeader
from rankstream.retrieval.index.hnsw_files import IndexHeader
from tests.builders.catalogue import NOW_MS, a_catalogue, an_item, published


def test_items_are_looked_up_by_key(tmp_path: Path) -> None:
    catalogue = published(tmp_path, an_item("b", price=2.0), an_item("a", price=1.0, title="A"), an_item(7))
    rows, found = catalogue.look_up(id_keys(["a", "nothing", "7"]))
    assert found.tolist() == [True, False, True]
    assert catalogue.prices[rows[0]] == 1.0
    assert catalogue.titles(rows[found]) == ["A", None]
    assert catalogue.ids(rows[found]) == ["a", 7]
    assert catalogue.items(rows[:1]) == [an_item("a", price=1.0, title="A")]


def test_a_published_catalogue_is_what_was_in_memory(tmp_path: Path) -> None:
    items = [an_item(n, category="Shoes>Running", group=n % 3, created_at_ms=NOW_MS + n) for n in range(50)]
    memory, mapped = a_catalogue(*items), published(tmp_path, *items)
    assert mapped.paths == memory.paths == (("Shoes",), ("Shoes", "Running"))
    np.testing.assert_array_equal(mapped.categories, memory.categories)
    np.testing.assert_array_equal(mapped.groups, memory.groups)
    assert mapped.items(range(50)) == items
    assert mapped.newest.tolist() == list(range(49, -1, -1))


def test_names_lead_to_the_codes_of_a_version() -> None:
    catalogue = a_catalogue(an_item(1, category="Hats", group="nike"), an_item(2, category="Shoes>Running", group=3))
    assert catalogue.paths[catalogue.category_code(("Shoes", "Running")) or 0] == ("Shoes", "Running")
    assert catalogue.category_code(("Running",)) is None
    assert [catalogue.group_code(group) for group in ("nike", 3, "3", "adidas")] == [1, 0, 0, None]


def test_an_empty_catalogue_can_be_published_and_knows_nothing(tmp_path: Path) -> None:
    publish(tmp_path, Catalogue.empty())
    catalogue = Catalogue.open(tmp_path)
    assert len(catalogue) == 0
    assert not catalogue.look_up(id_keys(["a"]))[1].any()
    assert catalogue.group_code("a") is None


@pytest.mark.parametrize("name", ["items.utf8", "prices.f64", "paths.utf8", "header.json"])
def test_a_changed_byte_is_found_when_a_version_is_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / published(tmp_path, an_item("a", category="Hats", price=1.0)).version / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenTableError, match=name):
        Catalogue.open(tmp_path)


@pytest.mark.parametrize(
    ("header", "sizes"),
    [
        (CatalogueHeader, ("count", "levels")),
        (Header, ("count", "dim")),
        (CountsHeader, ("features", "match_features")),
        (InterestsHeader, ("users", "interests")),
        (GraphHeader, ("items", "boards")),
        (IndexHeader, ("count", "dim", "links", "construction_ef")),
    ],
)
def test_no_header_of_a_version_has_a_size_below_nothing(header: type[msgspec.Struct], sizes: tuple[str, ...]) -> None:
    """To numpy's reshape -1 is any size: a catalogue of so many items opened, and failed when somebody asked it."""
    for size in sizes:
        with pytest.raises(msgspec.ValidationError, match=rf">= 0 - at `\$.{size}`"):
            msgspec.json.decode(msgspec.json.encode({"format": 1, **dict.fromkeys(sizes, 1), size: -1}), type=header)


def test_a_live_catalogue_follows_and_a_request_keeps_its_version(tmp_path: Path) -> None:
    live = LiveCatalogue(tmp_path)
    assert live.snapshot() is None
    published(tmp_path, an_item("a"))
    live.refresh()
    held = live.snapshot()
    published(tmp_path, an_item("a"), an_item("b"))
    live.refresh()
    newest = live.snapshot()
    assert (held and len(held), newest and len(newest)) == (1, 2)


def test_a_broken_version_is_refused_and_the_one_before_serves_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = published(tmp_path, an_item("a"))
    live = LiveCatalogue(tmp_path)
    bad = published(tmp_path, an_item("b"))
    (tmp_path / bad.version / "items.utf8").write_bytes(b"{}")
    live.refresh()
    serving = live.snapshot()
    assert serving is not None
    assert serving.version == good.version
    assert f"version {good.version} serves" in caplog.text
