"""`rankstream catalogue`: what people see of it, and what is refused."""

from pathlib import Path

import pytest

from rankstream.content.catalogue import Catalogue
from tests.builders.bundle import a_bundle
from tests.builders.catalogue import an_item, published
from tests.builders.cli import rankstream


def test_a_file_becomes_a_version_and_an_item_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("sku,name,category,price,added\na7,Trail X,Shoes>Running,59.90,2023-03-01\n")
    done = rankstream("catalogue", "import", tmp_path / "items.csv", tmp_path / "c", "--map", "created_at_ms=added")
    assert (done.exit_code, "1 items of 1 rows" in done.stdout) == (0, True), done.output
    shown = rankstream("catalogue", "show", tmp_path / "c", "a7").stdout
    assert "Shoes > Running" in shown
    assert "2023-03-01" in shown


def test_as_of_is_when_the_items_were_like_this(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id\na\n")
    rankstream("catalogue", "import", tmp_path / "items.csv", tmp_path / "c", "--as-of", 1_600_000_000_000)
    assert Catalogue.open(tmp_path / "c").as_of_ms == 1_600_000_000_000


def test_check_says_how_a_catalogue_and_a_bundle_fit(tmp_path: Path) -> None:
    published(tmp_path / "c", an_item("a", price=1.0, category="Hats"), an_item("not in the bundle"))
    checked = rankstream("catalogue", "check", tmp_path / "c", "--bundle", a_bundle(tmp_path / "b"))
    assert checked.exit_code == 0, checked.output
    assert "checksums verified" in checked.stdout
    assert "items without vector" in checked.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("import", "nothing.csv", "c"), "there is no file nothing.csv"),
        (("show", "c", "a7"), "publish one there"),
        (("check", "c"), "publish one there"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = rankstream("catalogue", *words)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert says in result.stderr
