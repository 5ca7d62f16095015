"""`rankstream graph`: boards of files and of catalogues become a graph that workers follow, or one sentence why not."""

import json

import numpy as np
import pytest

from rankstream.features.embeddings.table import publish
from rankstream.graph.item_graph import ItemGraph
from tests.builders.bundle import AS_OF_MS
from tests.builders.catalogue import an_item, published
from tests.builders.cli import rankstream, refusal

LINES = ("basket,item_id,at", "b1,5,2023-11-01", "b1,6,2023-11-01", "b2,6,2023-11-02", "b2,7,2023-11-02",
         "b3,8,2023-11-03")  # fmt: skip
COLUMNS = ("--map", "board=basket", "--map", "timestamp_ms=at")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "baskets.csv"
    path.write_text("\n".join(LINES) + "\n")
    return path


def build(tmp_path, *words):
    return rankstream("graph", "build", tmp_path / "graph", *words)


def test_boards_of_a_file_become_a_graph_and_what_is_left_out_is_told(rows, tmp_path):
    done = build(tmp_path, "--rows", rows, *COLUMNS, "--as-of", "2023-11-02")
    assert done.exit_code == 0, done.output
    assert "3 items in 2 boards, 4 edges as of 2023-11-02" in done.output.replace("\n", " ")
    assert "left out: 1 rows of later times" in done.output.replace("\n", " ")
    shown = json.loads(rankstream("graph", "check", tmp_path / "graph", "--json").stdout)
    assert (shown["edges"], shown["items_of_a_board_most"]) == (4, 2)
    assert shown["version"] == ItemGraph.open(tmp_path / "graph").version


def test_the_collections_of_the_catalogue_as_of_then_join_them(rows, tmp_path):
    for at, items in enumerate(((5, 9), (5, 9, 11))):
        shelf = [an_item(item, collections=("shelf",)) for item in items]
        published(tmp_path / "catalogue", *shelf, as_of_ms=AS_OF_MS + at)
    words = ("--rows", rows, *COLUMNS, "--catalogue", tmp_path / "catalogue", "--as-of", AS_OF_MS, "--json")
    told = json.loads(build(tmp_path, *words).stdout)
    assert (told["items"], told["boards"], told["edges"], told["single"]) == (4, 3, 6, 1)
    early = refusal(build(tmp_path, "--catalogue", tmp_path / "catalogue", "--as-of", AS_OF_MS - 1))
    assert "give a later --as-of, or import the items as of then" in early


def test_edges_are_of_the_actions_that_are_named(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("action,item_id,list\nsave,5,a\nsave,6,a\nview,7,a\n")
    told = json.loads(build(tmp_path, "--rows", log, "--edges", "save:list", "--json").stdout)
    assert (told["items"], told["edges"], told["unboarded"]) == (2, 2, 1)
    assert "give --rows FILE too" in refusal(build(tmp_path, "--edges", "save:list=2"))
    assert "is no ACTION:COLUMN" in refusal(build(tmp_path, "--rows", log, "--edges", "save"))
    assert "give --rows FILE too" in refusal(build(tmp_path, "--edges", "save:list"))


def test_edges_weigh_by_action_and_age_and_the_graph_says_so(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("action,item_id,list,timestamp_ms\nsave,5,a,2023-11-01\nview,6,a,2023-11-02\n")
    edges = ("--rows", log, "--edges", "save:list=3", "--edges", "view:list", "--as-of", "2023-11-03")
    assert build(tmp_path, *edges, "--half-life", "30d").exit_code == 0
    shown = json.loads(rankstream("graph", "check", tmp_path / "graph", "--json").stdout)
    assert shown["weights"] == {"edges": {"save:list": 3.0, "view:list": 1.0}, "half_life": "30d"}
    assert "save:list 3, view:list 1, half after 30d" in rankstream("graph", "check", tmp_path / "graph").output
    for words, said in (
        (("--edges", "save:list=0"), "0 is no weight; write a number above 0, as save:collection=3"),
        (("--edges", "save:list="), "nothing is no weight"),
        (("--edges", "save:list", "--half-life", "soon"), "--half-life soon is none; write for example 30d"),
        (("--edges", "save:list", "--half-life", "never"), "or leave it out"),
    ):
        assert said in refusal(build(tmp_path, "--rows", log, *words))
    weighed = build(tmp_path, *edges, "--bias", 0.5, "--catalogue", a_shelf(tmp_path))
    assert "not both; leave out --bias, or the weights" in refusal(weighed)
    assert "--half-life is of rows" in refusal(build(tmp_path, "--half-life", "30d", "--catalogue", tmp_path))


def a_shelf(tmp_path):
    shelf = [an_item(item, category=("Food",) if item < 7 else ("Toys",)) for item in (5, 6, 7)]
    published(tmp_path / "catalogue", *shelf, as_of_ms=1)
    return tmp_path / "catalogue"


def test_boards_of_many_topics_are_left_out_by_categories_or_item_vectors(rows, tmp_path):
    a_shelf(tmp_path)
    words = ("--rows", rows, *COLUMNS, "--max-topics", 1, "--as-of", AS_OF_MS, "--json")
    told = json.loads(build(tmp_path, *words, "--catalogue", tmp_path / "catalogue").stdout)
    assert (told["boards"], told["spread"]) == (1, 1)  # b2 holds 6 and 7
    biased = ("--rows", rows, *COLUMNS, "--bias", 0.6, "--as-of", AS_OF_MS, "--catalogue", tmp_path / "catalogue")
    assert build(tmp_path, *biased).exit_code == 0
    assert json.loads(rankstream("graph", "check", tmp_path / "graph", "--json").stdout)["bias"] == 0.6
    publish(tmp_path / "items", [5, 6, 7], np.eye(3)[[0, 0, 1]], space="s", as_of_ms=AS_OF_MS)
    told = json.loads(build(tmp_path, *words, "--item-vectors", tmp_path / "items", "--topics", 2).stdout)
    assert told["boards"] + told["spread"] == 2
    assert "give --item-vectors DIR, or a --catalogue with categories" in refusal(build(tmp_path, *words))
    publish(tmp_path / "items", [5, 6, 7], np.eye(3), space="s", as_of_ms=AS_OF_MS + 1)
    late = refusal(build(tmp_path, *words, "--item-vectors", tmp_path / "items"))
    assert "give a later --as-of, or older vectors" in late


def test_what_can_not_be_built_is_one_sentence(rows, tmp_path):
    assert "give --rows FILE, --catalogue DIR or both" in refusal(build(tmp_path))
    assert "the graph is empty" in refusal(build(tmp_path, "--rows", rows, *COLUMNS, "--as-of", "2020-01-01"))
    assert "no column board" in refusal(build(tmp_path, "--rows", rows))
    published(tmp_path / "catalogue", an_item(5))
    assert "no item is in any board" in refusal(build(tmp_path, "--catalogue", tmp_path / "catalogue"))
    assert "there is no table; publish one there" in refusal(rankstream("graph", "check", tmp_path / "nowhere"))
