"""`rankstream catalogue follow`: a topic becomes versions of a catalogue, whoever is killed on the way."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from rankstream.content.catalogue import Catalogue, publish
from rankstream.content.items import Item
from rankstream.features.ids import Id
from rankstream.streams.clients.item_updates import CatalogueFollower
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import DeadLetterReader
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ITEM_UPDATES, TopicNames
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.cli import connected, fresh_topics, rankstream, refusal

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(bootstrap_servers: str) -> Settings:
    return fresh_topics(bootstrap_servers)


def send(settings: Settings, *items: Item | Id | tuple[bytes | None, bytes]) -> None:
    """Send items, ids of what is gone, or raw keys and values."""
    with Producer(settings, also=[ITEM_UPDATES]) as producer:
        for item in items:
            if isinstance(item, Item):
                producer.send_item(item)
            elif isinstance(item, tuple):
                producer.send(TopicNames(settings.topic_prefix).of(ITEM_UPDATES), *item)
            else:
                producer.remove_item(item)


def follow(settings: Settings, root: Path) -> dict[str, object]:
    result = rankstream("catalogue", "follow", root, "--once", "--json", *connected(settings))
    assert result.exit_code == 0, (result.output, result.exception)
    document: dict[str, object] = msgspec.json.decode(result.stdout)
    return document


def test_items_are_added_replaced_and_removed_and_bad_records_become_dead_letters(
    settings: Settings, tmp_path: Path
) -> None:
    send(settings, an_item(1, title="A", price=1.0, currency="EUR"), an_item("b"), (b"x", b"{"), (b"7", b'{"id": 8}'))
    first = follow(settings, tmp_path)
    assert (first["items"], first["records"], first["rejected"]) == (2, 4, {"key-mismatch": 1, "not-json": 1})
    send(settings, an_item(1, title="A2"), "b")
    assert follow(settings, tmp_path)["records"] == 2  # it reads on where the version ends
    catalogue = Catalogue.open(tmp_path)
    assert catalogue.items(range(len(catalogue))) == [an_item(1, title="A2")]
    with DeadLetterReader(settings) as reader:
        assert {one.dead_letter.reason for one in reader.dead_letters()} == {"not-json", "key-mismatch"}


def test_a_record_with_a_wrong_key_is_sent_again_with_the_right_one(settings: Settings, tmp_path: Path) -> None:
    send(settings, (b"7", b'{"id": 8}'))
    follow(settings, tmp_path)
    redriven = rankstream("dead-letters", "redrive", "--fix-keys", *connected(settings))
    assert redriven.exit_code == 0, redriven.output
    assert follow(settings, tmp_path)["items"] == 1


def test_a_process_that_is_killed_while_items_come_loses_none(settings: Settings, tmp_path: Path) -> None:
    words = ("catalogue", "follow", str(tmp_path / "c"), "--every-s", "0.1", *connected(settings))
    """Two processes start one after the other, which takes seconds; no less would be a kill."""
    for wave in range(2):
        process = subprocess.Popen([sys.executable, "-m", "rankstream.cli.main", *words], stdout=subprocess.PIPE)
        send(settings, *(an_item(n, title=f"{wave}") for n in range(wave * 100, wave * 100 + 150)))
        assert process.stdout is not None
        process.stdout.readline()  # a version was published; more may be on its way
        process.kill()
        process.wait()
    follow(settings, tmp_path / "c")
    titles = Catalogue.open(tmp_path / "c").titles(range(250))
    assert titles == ["0"] * 100 + ["1"] * 150


def test_the_first_version_holds_all_that_was_there(settings: Settings, tmp_path: Path) -> None:
    """A part of them would take the others out of the shop."""
    send(settings, *(an_item(n) for n in range(1_500)))
    with CatalogueFollower(settings, tmp_path, every_s=0.0) as follower:
        first = next(version for version in iter(follower.step, "never") if version is not None)
    assert len(first) == 1_500


def test_nothing_new_makes_no_version(settings: Settings, tmp_path: Path) -> None:
    send(settings, an_item(1))
    version = follow(settings, tmp_path)["version"]
    again = follow(settings, tmp_path)
    assert (again["version"], again["versions"]) == (version, 0)


def test_versions_are_no_closer_than_asked_for(settings: Settings, tmp_path: Path) -> None:
    now = [100.0]
    with CatalogueFollower(settings, tmp_path, clock=lambda: now[0]) as follower:
        for n in range(3):
            send(settings, an_item(n))
            while follower.followed.records <= n:
                follower.step()
        assert follower.followed.versions == 1
        now[0] += 1.0
        newest = follower.step()
    assert newest is not None
    assert len(newest) == 3


def test_a_catalogue_of_another_topic_is_refused(settings: Settings, tmp_path: Path) -> None:
    made = a_catalogue(an_item(1))
    header = msgspec.structs.replace(made.header, positions={"0": 1_000, "1": 1_000})
    publish(tmp_path, Catalogue(header, made.columns))
    said = refusal(rankstream("catalogue", "follow", tmp_path, "--once", *connected(settings)))
    assert "was made of another topic" in said
    assert said.endswith("follow into a new folder")


@pytest.mark.parametrize("change", [{"checksum": 1}, {"newest_ms": 1}])
def test_a_topic_that_lost_what_was_read_and_has_others_there_is_refused(
    settings: Settings, tmp_path: Path, change: dict[str, int]
) -> None:
    """Its id is the same, and it is as long."""
    send(settings, an_item(1))
    follow(settings, tmp_path)
    made = Catalogue.open(tmp_path)
    read = {number: msgspec.structs.replace(last, **change) for number, last in made.header.last_read.items()}
    publish(tmp_path, Catalogue(msgspec.structs.replace(made.header, last_read=read), made.columns))
    said = refusal(rankstream("catalogue", "follow", tmp_path, "--once", *connected(settings)))
    assert "or this one lost its newest records: follow into a new folder" in said
