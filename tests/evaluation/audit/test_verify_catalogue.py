"""Answers whose candidates came of a catalogue: reproduced to the bit across versions, and what is missing named."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from rankstream.content.items import Item
from rankstream.content.live import LiveCatalogue
from rankstream.evaluation.audit.explain import explain
from rankstream.evaluation.leakage import CatalogueVersions, LeakError
from rankstream.evaluation.point_in_time import RankerAsOf, RankersAsServed, no_table
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.files import versions
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.retrieval_mix import RetrievalMix
from rankstream.ranking.serving import ranker_of
from rankstream.streams.codec import ServedFeatures
from tests.builders.actions import MORNING_MS
from tests.builders.bundle import VOCABULARY, a_bundle
from tests.builders.catalogue import DAY_MS, an_item, published
from tests.builders.served import Day, a_day, changed

MIX = RetrievalMix(new_share=0.3, new_days=30.0, popular_share=0.2, popular_window="1d", popular_by="category")


def items(number: int) -> Sequence[Item]:
    """Another half of the bundle's items each time, and more that are new."""
    warm = [
        an_item(n, created_at_ms=MORNING_MS - 900 * DAY_MS, category=("Hats", "Shoes", "Gloves")[(n + number) % 3])
        for n in range(1 + number, 201, 2)
    ]
    return [*warm, *(an_item(f"new-{n}", created_at_ms=MORNING_MS - DAY_MS) for n in range(20 * number, 40 * number))]


@dataclass
class Restocked:
    """Serves with a catalogue of which a new version is published before every fifth answer."""

    ranker: Ranker
    live: LiveCatalogue
    asked: int = 0
    vocabulary = VOCABULARY
    variant = None

    @property
    def current(self) -> "Restocked":
        return self

    def for_user(self, key: bytes) -> "Restocked":
        return self

    @property
    def offline(self):
        return self.ranker.offline

    def rank(self, request, state, now_ms):
        if self.asked % 5 == 0:
            published(self.live.root, *items(self.asked // 5), as_of_ms=MORNING_MS + self.asked, keep=100)
            self.live.refresh()
        self.asked += 1
        return self.ranker.rank(request, state, now_ms)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    bundle, live = open_bundle(a_bundle(folder / "bundle")), LiveCatalogue(folder / "catalogue")
    ranker = ranker_of(bundle, NoVectors(bundle.manifest.sizes.user_dim), catalogues=live, mix=MIX)
    return a_day(folder, actions=400, serving=Restocked(ranker, live))  # type: ignore[arg-type]


def rankers(day: Day, catalogue: Path | None) -> RankersAsServed:
    return RankersAsServed(open_bundle(day.bundle), catalogue=catalogue)


def root_of(day: Day) -> Path:
    return day.bundle.parent / "catalogue"


def served(day: Day) -> list[ServedFeatures]:
    return [msgspec.json.decode(one.value or b"", type=ServedFeatures) for one in day.served]


def test_answers_are_reproduced_to_the_bit_across_versions_of_the_catalogue(day):
    report = day.verify(rankers=rankers(day, root_of(day)))
    assert (report.differences, report.unverified) == ([], {})
    assert report.verified == report.answers == len(day.served)
    assert len(report.catalogues) > 3
    found = [one for one in served(day) if one.catalogue is not msgspec.UNSET]
    assert {one.retrieval for one in found} == {MIX.text}
    assert {item.source for one in found for item in one.items} >= {"recent-likes", "new", "popular:category"}


def test_an_answer_that_names_another_version_is_found_out(day):
    """What is compared can differ: by another version, another half of the items is proposed."""
    at = next(n for n, one in enumerate(served(day)) if one.catalogue is not msgspec.UNSET)
    other = versions(root_of(day))[3].name
    tampered = [*day.served[:at], changed(day.served[at], catalogue=other), *day.served[at + 1 :]]
    report = replace(day, served=tampered).verify(rankers=rankers(day, root_of(day)))
    assert len(report.differences) == 1
    assert "order" in report.differences[0].fields


def test_a_version_that_is_no_longer_there_is_named(day, tmp_path):
    shutil.copytree(root_of(day), tmp_path / "c")
    gone = versions(tmp_path / "c")[0]
    shutil.rmtree(gone)
    report = day.verify(rankers=rankers(day, tmp_path / "c"))
    assert list(report.unverified) == [f"version {gone.name} of the catalogue is not in {tmp_path / 'c'} any more"]
    without = day.verify(rankers=rankers(day, None))
    assert all("name their folder with --catalogue" in reason for reason in without.unverified)
    assert report.differences == without.differences == []


def test_an_answer_with_a_limit_is_explained(day):
    at, answer = next((n, one) for n, one in enumerate(served(day)) if one.catalogue is not msgspec.UNSET and n > 5)
    request = next(one for one in day.requests if one.offset == answer.offset)
    told = explain(answer, request, day.actions, rankers(day, root_of(day)), day.history_limit)
    assert told.identical, at
    assert [item.item_id for item in told.items[:3]] == [item.item_id for item in answer.items[:3]]
    assert [item.source for item in told.items[:3]] == [item.source for item in answer.items[:3]]


def test_a_catalogue_of_later_than_what_is_ranked_is_a_leak(day):
    catalogues = CatalogueVersions(root_of(day))
    assert catalogues.check(from_ms=MORNING_MS) == []
    with pytest.raises(LeakError, match="hold events until"):
        catalogues.check(from_ms=MORNING_MS - 1)
    (mark,) = catalogues.check(from_ms=MORNING_MS - 1, allow=True)
    assert mark.startswith("LEAK: the items of the catalogue")
    assert catalogues.as_of(MORNING_MS - 1) is None


def test_as_of_a_time_candidates_are_of_the_version_that_there_was(day):
    catalogues = CatalogueVersions(root_of(day))
    as_of = RankerAsOf(open_bundle(day.bundle), no_table, catalogues=catalogues.as_of)
    request = RankingRequest("r", "unknown", limit=500)
    found = [as_of.at(MORNING_MS + late).rank(request, UNKNOWN_USER, MORNING_MS + late) for late in (0, 4, 5)]
    assert [one.catalogue for one in found] == [catalogues.opened[n].version for n in (0, 0, 1)]
    assert as_of.at(MORNING_MS - 1).rank(request, UNKNOWN_USER, MORNING_MS - 1).catalogue is None
