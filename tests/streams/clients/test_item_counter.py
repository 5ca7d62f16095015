"""Items counted from the stream: a version is a function of the log up to its boundary, whoever counts it, and when."""

import errno
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from rankstream.bundles.item_counts import NotCountableError
from rankstream.bundles.manifest import read_manifest, write_manifest
from rankstream.evaluation.replay.counts import CountedAnew
from rankstream.events.arrivals import arrivals_of
from rankstream.events.kept_actions import KeptActions
from rankstream.events.open import open_log
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.files import versions
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.files import make_current
from rankstream.features.ids import id_keys
from rankstream.features.item_counts.files import FolderInUseError
from rankstream.models.items.item_counts import item_counts
from rankstream.ranking.bundle import open_bundle
from rankstream.streams.clients import item_counter
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.item_counter import ItemCounter, NotPublishedError, Pace
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.partitioner import partition_of
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS
from tests.builders.bundle import VOCABULARY
from tests.builders.cli import fresh_topics
from tests.builders.counting import (
    EVERY_MS,
    START_MS,
    Clock,
    Senders,
    a_counter,
    at_ms,
    newest,
    published,
    rows_of,
)
from tests.builders.item_counts import a_following_bundle, a_recipe, log_of, the_same
from tests.builders.killed import killed_at
from tests.builders.logs import write_log

pytestmark = pytest.mark.broker

ITEMS = ItemTable(np.arange(1, 41), np.zeros((40, 0), np.float32))
ONCE = np.log1p(1) / 10  # log_exposures of what was shown in one list
ACTS = [(f"u{n % 7}", 1 + n * n % 5, VOCABULARY.actions[n % 3], 0.5 * n) for n in range(100)]  # 50 minutes


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return a_following_bundle(tmp_path_factory.mktemp("counted") / "bundle", rows_of(ACTS[:8]))


@pytest.fixture
def settings(bootstrap_servers: str) -> Settings:
    return fresh_topics(bootstrap_servers, partitions=3)


@pytest.fixture
def send(settings: Settings):
    senders = Senders(settings)
    yield senders
    senders.kafka.close()


def anew(acts, minutes: float):
    """What training would count of these actions before a boundary."""
    return item_counts(log_of(rows_of(acts)), ITEMS, a_recipe(), at_ms(minutes) - 1)


def feature(counts, name, items):
    rows = counts.item_features.look_up(id_keys(items))[0]
    return rows[:, counts.feature_names.index(name)].tolist()


def test_versions_are_what_is_counted_of_the_log_until_their_boundaries(settings, send, bundle, tmp_path):
    clock = Clock(11)
    with ItemCounter(
        replace(settings, bundle=bundle), tmp_path, Pace(EVERY_MS, grace_ms=60_000, keep=9), clock=clock
    ) as counter:
        for until in range(10, 60, 10):
            send.act(*(act for act in ACTS if until - 10 <= act[3] < until))
            clock.minutes = until + 0.5
            assert counter.step() is None, "the clock is no grace past the boundary"
            clock.minutes = until + 1
            found = counter.read_to_end()
            assert found is not None
            assert found.as_of_ms == at_ms(until) - 1
            assert the_same(newest(tmp_path), anew(ACTS, until))
    assert counter.figures.versions == len(versions(tmp_path)) == 5


def test_a_version_counted_later_is_the_same_to_the_byte(settings, send, bundle, tmp_path):
    """Its folder is named by the hash of all that is in it."""
    send.act(*ACTS)
    for minutes in (10, 30, 50):
        published(settings, bundle, tmp_path / "in-order", minutes)
    for minutes in (50, 30, 10):
        published(settings, bundle, tmp_path / str(minutes), minutes)
    names = [folder.name.partition("-")[2] for folder in versions(tmp_path / "in-order")]
    later = [versions(tmp_path / str(minutes))[0].name.partition("-")[2] for minutes in (10, 30, 50)]
    assert names == later
    assert len(set(names)) == 3


def test_replay_counts_anew_what_was_published(settings, send, bundle, tmp_path):
    send.act(*ACTS, ("u1", "", "forget", 22))
    send.act(("late", 9, "save", 3), arrived=12)
    past = KeptActions(VOCABULARY)
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        past.feed(arrivals_of(reader.read_all(), VOCABULARY, Skipped()))
    replayed = CountedAnew(open_bundle(bundle), past, EVERY_MS)
    for minutes in (10, 20, 30, 50):
        live = published(settings, bundle, tmp_path, minutes)
        assert the_same(live, replayed.as_of(at_ms(minutes + 9)))


def test_what_arrives_after_a_boundary_counts_for_the_next_one(settings, send, bundle, tmp_path):
    send.act(*ACTS[:10])
    send.act(("late", 9, "save", 3), arrived=12)
    first, second = (published(settings, bundle, tmp_path, minutes) for minutes in (10, 20))
    assert the_same(first, anew(ACTS[:10], 10))
    assert the_same(second, anew(sorted([*ACTS[:10], ("late", 9, "save", 3)], key=lambda act: act[3]), 20))


def test_a_boundary_after_which_nothing_happened_is_none(settings, send, bundle, tmp_path):
    send.act(*ACTS[:10])
    with a_counter(settings, bundle, tmp_path, 10) as counter:
        first = counter.read_to_end()
        counter._clock.minutes = 31
        assert counter.read_to_end() is None
        assert counter.figures.complete_ms == at_ms(30)
    assert published(settings, bundle, tmp_path, 41) is None, "who starts anew finds that all is published"
    assert [folder.name for folder in versions(tmp_path)] == [first.folder.name]


def test_no_older_boundary_takes_the_place_of_a_newer_one(settings, send, bundle, tmp_path):
    send.act(*ACTS)
    newer = published(settings, bundle, tmp_path, 40)
    assert published(settings, bundle, tmp_path, 20) is None
    assert newest(tmp_path).version == newer.version


def test_records_that_workers_reject_are_passed_over_and_counted(settings, send, bundle, tmp_path):
    wrong = (partition_of(b"u1", 3) + 1) % 3
    sound = b'{"user_id": "u1", "item_id": 1, "action": "view", "timestamp_ms": %d}' % at_ms(2)
    send.raw(b"u1", b"{", 1)
    send.raw(b"u2", sound, 2)
    send.raw(b"u1", sound.replace(b"view", b"dance"), 2)
    send.raw(b"u1", sound, 2, partition=wrong)
    send.act(*ACTS[:10])
    with a_counter(settings, bundle, tmp_path, 10) as counter:
        counter.read_to_end()
    said = {"not-json": 1, "key-mismatch": 1, "unknown-action": 1, "wrong-partition": 1}
    assert dict(counter.figures.passed_over) == said
    assert the_same(newest(tmp_path), anew(ACTS[:10], 10))


def test_an_erased_user_is_not_counted_from_then_on(settings, send, bundle, tmp_path):
    send.act(*ACTS[:40])
    assert the_same(published(settings, bundle, tmp_path, 20), anew(ACTS[:40], 20))
    send.act(("u1", "", "forget", 15), arrived=22)
    left = [act for act in ACTS[:40] if act[0] != "u1" or act[3] > 15]
    assert the_same(published(settings, bundle, tmp_path, 30), anew(left, 30))


def test_a_second_one_on_the_folder_is_refused(settings, bundle, tmp_path):
    with a_counter(settings, bundle, tmp_path, 10), pytest.raises(FolderInUseError, match="another process publishes"):
        a_counter(settings, bundle, tmp_path, 10)
    with a_counter(settings, bundle, tmp_path, 10):
        pass  # the first one has ended


def test_a_part_of_the_log_is_not_published_for_the_whole(settings, send, bundle, tmp_path):
    send.act(*ACTS[:3])
    with pytest.raises(NotCountableError, match=r"holds 3 actions .* are of 8: .* with --from LOG"):
        published(settings, bundle, tmp_path, 10)
    assert the_same(published(settings, bundle, tmp_path, 10, allow_few=True), anew(ACTS[:3], 10))


def test_what_could_not_be_compared_is_read_again(settings, send, bundle, tmp_path, monkeypatch):
    """Brokers that are away for a moment cost no action, nor does any count twice."""
    send.act(*ACTS[:10])
    with a_counter(settings, bundle, tmp_path, 10) as counter:
        followed = counter._actions._followed
        compare, answers = followed.is_another, [ClientError("away"), ClientError("away")]

        def away(*asked):
            if answers:
                raise answers.pop()
            return compare(*asked)

        monkeypatch.setattr(followed, "is_another", away)
        for _ in range(2):
            with pytest.raises(ClientError):
                counter.step()
        counter.read_to_end()
        assert counter.figures.actions == 10
    assert the_same(newest(tmp_path), anew(ACTS[:10], 10))


def away_once(away, go_on):
    """What brokers answer that are away the first time."""
    if away:
        away.clear()
        raise ClientError("away")
    go_on()


def test_a_topic_that_is_another_one_is_read_from_its_beginning(settings, send, bundle, tmp_path, monkeypatch, caplog):
    send.act(*ACTS[:20])
    with a_counter(settings, bundle, tmp_path, 10) as counter:
        counter.read_to_end()
        monkeypatch.setattr(counter._actions._followed, "is_another", lambda *asked: True)
        counter._actions._is_in_doubt = True
        start_over, away = counter._actions.start_over, [True]
        monkeypatch.setattr(counter._actions, "start_over", lambda: away_once(away, start_over))
        send.act(*ACTS[20:30])
        counter._clock.minutes = 20
        with pytest.raises(ClientError):
            counter.step()
        while counter.has_work:
            counter.step()
        assert "so all is read again" in caplog.text
        assert counter.figures.actions == 30
    assert the_same(newest(tmp_path), anew(ACTS[:30], 20))


def test_what_can_not_be_written_is_one_sentence_and_the_next_boundary_is_published(
    settings, send, bundle, tmp_path, monkeypatch
):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    send.act(*ACTS)
    with a_counter(settings, bundle, tmp_path, 10) as counter:
        with monkeypatch.context() as patch:
            patch.setattr(item_counter, "publish_newer", full)
            with pytest.raises(NotPublishedError, match="No space left on device"):
                counter.read_to_end()
        assert counter.figures.complete_ms is None
        counter._clock.minutes = 20
        counter.read_to_end()
    assert the_same(newest(tmp_path), anew(ACTS, 20))


class Recorded:
    """A log that is counted first."""

    def __init__(self, path: Path) -> None:
        self.log = open_log(path)

    def batches(self, vocabulary):
        return self.log.batches(vocabulary, erasures=True)

    def lists(self, vocabulary):
        return None


def test_after_a_recorded_log_only_what_is_newer_counts(settings, send, bundle, tmp_path):
    fields = ("user_id", "item_id", "action", "timestamp_ms")
    rows = [dict(zip(fields, row, strict=True)) for row in rows_of(ACTS[:60])]
    before = Recorded(write_log(tmp_path / "log.jsonl", rows))
    send.act(*ACTS[40:])
    found = published(settings, bundle, tmp_path / "counts", 50, before=before)
    assert the_same(found, anew(ACTS, 50))


def with_vocabulary(folder: Path, *more: str) -> None:
    """Let a bundle know more actions."""
    manifest = read_manifest(folder)
    actions = (*manifest.vocabulary.actions, *more)
    recipe_of = next(part for part in manifest.parts if part.kind == "item_features")
    names = [*recipe_of.facts["names"], *(f"share_{name}" for name in more)]
    parts = tuple(
        msgspec.structs.replace(part, facts=part.facts | {"names": names}) if part is recipe_of else part
        for part in manifest.parts
    )
    changed = msgspec.structs.replace(
        manifest, vocabulary=Vocabulary(actions, manifest.vocabulary.surfaces), parts=parts, model_version="more"
    )
    write_manifest(folder, changed)


def test_the_bundle_that_current_names_is_followed_and_a_broken_one_is_not(settings, send, tmp_path, caplog):
    bundles, rows = tmp_path / "bundles", rows_of(ACTS[:8])
    a_following_bundle(bundles / "one", rows)
    a_following_bundle(bundles / "two", rows, items=3)
    with_vocabulary(a_following_bundle(bundles / "three", rows), "dance")
    (a_following_bundle(bundles / "broken", rows) / "manifest.json").write_text("{}")
    make_current(bundles, "one")
    dances = [("u2", 4, "dance", 1.0 + n / 10) for n in range(5)]
    send.act(*ACTS[:10], *dances)
    with a_counter(settings, bundles, tmp_path / "counts", 10) as counter:
        counter.read_to_end()
        assert len(newest(tmp_path / "counts").item_features) == 40
        for name in ("two", "broken"):
            make_current(bundles, name)
            send.act(("u9", 1, "view", 11 if name == "two" else 21))
            counter._clock.minutes += 10
            counter.read_to_end()
            assert len(newest(tmp_path / "counts").item_features) == 3
        assert counter.figures.refused_bundles == 1
        assert "items are counted for model following as before" in caplog.text
        make_current(bundles, "three")
        counter.step()  # the same boundary, for other actions
        while counter.has_work:
            counter.step()
        counts = newest(tmp_path / "counts")
        assert counts.as_of_ms == at_ms(30) - 1
        assert max(feature(counts, "share_dance", range(1, 41))) == feature(counts, "share_dance", [4])[0] > 0
        assert counter.figures.actions == 10 + 5 + 2, "what was passed over before has been read again"


def test_rates_of_lists_are_counted_of_the_topic_impressions(settings, send, tmp_path):
    names = (*a_recipe().feature_names, "log_exposures", "log_yesterday", "rate_save")
    folder = a_following_bundle(tmp_path / "bundle", rows_of(ACTS[:8]))
    manifest = read_manifest(folder)
    facts = {"names": names, "rates": {"save": ["save"]}, "lists": True}
    parts = tuple(
        msgspec.structs.replace(part, facts=part.facts | facts) if part.kind == "item_features" else part
        for part in manifest.parts
    )
    write_manifest(folder, msgspec.structs.replace(manifest, parts=parts))
    send.act(*ACTS[:10], ("v", 9, "save", 6))
    for _ in range(2):  # it came twice
        send.show("l1", "v", (8, 9), 5)
    send.show("l2", "v", (8, 9), 11)
    counts = published(settings, folder, tmp_path / "counts", 10)
    assert feature(counts, "log_exposures", [7, 8, 9]) == pytest.approx(
        [0, np.log1p(1) / 10, np.log1p(1) / 10], abs=1e-3
    )
    left, saved = feature(counts, "rate_save", [8, 9])
    assert saved > 0 > left
    counts = published(settings, folder, tmp_path / "counts", 20)
    assert feature(counts, "log_exposures", [8]) == pytest.approx([np.log1p(2) / 10], abs=1e-3)
    assert len(counts.item_features) == 40, "the bundle's items"
    manifest = read_manifest(folder)
    facts = {"newcomers": True, "counted_every_ms": 3_600_000}
    parts = tuple(
        msgspec.structs.replace(part, facts=part.facts | facts) if part.kind == "item_features" else part
        for part in manifest.parts
    )
    write_manifest(folder, msgspec.structs.replace(manifest, parts=parts))
    send.show("l3", "w", (8, "new"), 21)
    counts = published(settings, folder, tmp_path / "counts", 30)
    assert feature(counts, "log_exposures", [8, "new"]) == pytest.approx([np.log1p(3) / 10, np.log1p(1) / 10], abs=1e-3)
    assert len(counts.item_features) == 41, "and one that was shown and has no vector yet"


COUNT_AND_DIE = """
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS
from tests.builders import counting
from tests.builders.counting import published

counting.START_MS = {start_ms}  # of the tests' own process: the hour may have passed since
settings = Settings(bootstrap_servers={servers!r}, topic_prefix={prefix!r}, partitions=3)
arm()
published(settings, pathlib.Path({bundle!r}), root, 20)
"""


@pytest.mark.parametrize(
    ("step", "calls", "stands"),
    [("write_synced", 5, False), ("rename", 0, False), ("make_current", 0, False), ("_prune", 0, True)],
)
def test_one_that_is_killed_while_it_publishes_leaves_no_half_version_and_the_next_goes_on(
    settings, send, bundle, tmp_path, step, calls, stands
):
    send.act(*ACTS)
    whole = published(settings, bundle, tmp_path / "whole", 20)
    root = tmp_path / "killed"
    before = published(settings, bundle, root, 10)
    about = {"servers": settings.bootstrap_servers, "prefix": settings.topic_prefix, "bundle": str(bundle)}
    writer = COUNT_AND_DIE.format(start_ms=START_MS, **about)
    assert killed_at(step, calls, root, writer) == 9
    assert the_same(newest(root), whole if stands else before)
    published(settings, bundle, root, 20)
    assert the_same(newest(root), whole)
