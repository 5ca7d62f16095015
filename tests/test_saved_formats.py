"""What an earlier version wrote still opens, and reads as it did: ``tests/saved`` holds it, and what was read then.

Where this fails, the code has to learn to read what it wrote; the files stay as they are (tests/saved/README.md).
"""

import json
import shutil
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
from faust.types import TP

from rankstream.bundles.golden import case_of, read_golden
from rankstream.bundles.manifest import read_manifest
from rankstream.bundles.sessions import EncodeCase, FoldCase
from rankstream.events.action_event import ActionEvent
from rankstream.events.dumps import dump_path, read_dump
from rankstream.events.open import open_log
from rankstream.events.registry import read_log
from rankstream.features.actions import Vocabulary, VocabularyRefusedError
from rankstream.features.counters import ever_done
from rankstream.features.embeddings.files import versions
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import id_keys
from rankstream.features.schema import ModelInputs
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.features.user_state import unpack_state
from rankstream.models.recipes.export import model_version_of
from rankstream.models.recipes.run_folder import load_models
from rankstream.models.sessions.torch_encoder import TorchSessions
from rankstream.models.training.checkpoints import read_whole, weights_tag
from rankstream.models.users.refresh import user_space
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.codec import DeadLetter, RankedFeed, RankingRequest, ServedFeatures
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.records import Channel
from rankstream.streams.worker.changelog import RestoreJob
from rankstream.streams.worker.offsets import Bounds
from rankstream.streams.worker.vocabulary_guard import keep_vocabulary
from tests.builders.cli import rankstream

SAVED = Path(__file__).parent / "saved" / "0.1.0"
LIMIT = 20  # of the histories
GOLDEN_REQUESTS = ("golden-1", "golden-2", "golden-3")
STRUCTS = {
    "user-actions": ActionEvent,
    "ranking-requests": RankingRequest,
    "ranked-feeds": RankedFeed,
    "served-features": ServedFeatures,
    "dead-letters": DeadLetter,
}
CONFIG = ("--config", SAVED / "rankstream.toml")
TRAINED = ("--positive", "save", "--positive", "click", "--negative", "hide", "--until", "2023-11-18", "--no-export")


@cache
def expected():
    return json.loads((SAVED / "expected.json").read_text())


OF_A_STRANGER = "golden-2"  # asks with a limit, and nothing is known of the user


def differences(found, wanted, tolerance=1e-4, where=""):
    """Name what differs, inside of lists and dictionaries; of numbers that are not whole, by more than rounding."""
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        pairs = [(found[key], wanted[key], f"{where}.{key}") for key in wanted]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = [(*both, f"{where}[{at}]") for at, both in enumerate(zip(found, wanted, strict=True))]
    elif isinstance(found, float) or isinstance(wanted, float):
        return [] if found == pytest.approx(wanted, rel=tolerance, abs=tolerance) else [(where, found, wanted)]
    else:
        return [] if found == wanted else [(where, found, wanted)]
    return [one for pair in pairs for one in differences(*pair[:2], tolerance, pair[2])]


def records(topic):
    return list(read_dump(dump_path(SAVED / "topics", topic), topic))


def open_store(folder, tmp_path):
    """The saved store's copy: to open it is to write into it."""
    return RocksStore(shutil.copytree(folder / "state", tmp_path / "state") / "rankstream" / "user-actions-0")


def serving(folder=SAVED):
    return LiveRanker.open(folder / "run" / "bundle", folder / "run" / "vectors" / "users")


def probabilities(ranker, golden):
    return [ranker.probabilities(case_of(ModelInputs, case)).numpy() for case in golden["ranker"]]


def a_copy(name, tmp_path):
    """A run's folder without its bundle, which is never written twice."""
    return shutil.copytree(SAVED / name, tmp_path / name, ignore=shutil.ignore_patterns("bundle"))


def train(out):
    done = rankstream("train", SAVED / "log" / "actions.parquet", "--out", out, *TRAINED, *CONFIG)
    assert done.exit_code == 0, done.output
    return load_models(out / "work")


# --- what is read out of the files; tests/saved/write.py wrote the same down in expected.json


def read_state(packed):
    state = unpack_state(packed, LIMIT)
    actions, tail = state.history.columns(), state.tail
    columns = (actions.item_keys, actions.action_types, actions.times_ms, actions.surfaces, actions.log_values)
    return {
        "offset": state.offset,
        "total": state.total,
        "actions": [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)],
        "departing": np.frombuffer(tail.items, ">u8").tolist(),
        "last_ms": tail.last_ms,
        "tag": tail.tag,
        "recurrent": np.frombuffer(tail.state, np.float16).tolist(),
    }


def read_store(store):
    return {
        "next_offset": store.next_offset,
        "users": {key.decode(): read_state(record) for key, record in store.items()},
    }


def read_table(folder):
    table = EmbeddingTable.open_version(folder)
    vectors, found = table.look_up(id_keys(range(9)))
    assert found.tolist() == [True] * 8 + [False]
    return {"space": table.space, "as_of_ms": table.as_of_ms, "vectors": vectors.tolist()}


def read_tables(folder):
    root = folder / "run" / "vectors" / "users"
    tables = {version.name: read_table(version) for version in versions(root)}
    return {"current": EmbeddingTable.open(root).version, "tables": tables}


def read_bundle(folder):
    bundle, golden = open_bundle(folder / "run" / "bundle"), read_golden(folder / "run" / "bundle" / "golden.npz")
    read = json.loads(msgspec.json.encode(bundle.manifest))
    del read["versions"], read["created_at"]
    del read["parts"]
    for name in ("match_features", "surfaces", "counted_types", "profile_columns"):
        assert read["sizes"].pop(name) == 0  # there were none
    read["session"] = parts_of(bundle.manifest)["sessions"].facts  # as format 1 called it
    items = sorted(f"i{number}" for number in range(24))
    read["vectors"] = bundle.items.look_up(id_keys(items))[0].tolist()
    read["digests"] = [case_of(ModelInputs, case).digest() for case in golden["ranker"]]
    return read


def parts_of(manifest):
    return {part.kind: part for part in manifest.parts}


def answer_golden_requests(folder, store):
    """The answers to the golden requests, by the store's states."""
    pipeline = Pipeline(UserCache(store, LIMIT), serving(folder), clock=lambda: 0)
    requests = read_dump(dump_path(folder / "topics", "ranking-requests"), "ranking-requests")
    golden = [one for one in requests if json.loads(one.value)["request_id"] in GOLDEN_REQUESTS]
    feeds = [json.loads(one.value) for one in pipeline.on_requests(golden).answer()]
    return [{name: feed[name] for name in feed if name not in ("ranked_at_ms", "timings_ms")} for feed in feeds]


def read_training(work):
    models, last = load_models(work), read_whole(work / "checkpoints" / "ranker" / "last.pt")
    about = models.about
    return {
        "actions": list(about.vocabulary.actions),
        "surfaces": list(about.vocabulary.surfaces),
        "heads": {head: list(names) for head, names in about.heads.items()},
        "utility": dict(about.utility),
        "positives": list(about.positives),
        "negatives": list(about.negatives),
        "until_ms": about.until_ms,
        "trained_on": about.actions,
        "features": list(about.feature_names),
        "metrics": dict(about.metrics),
        "losses": [[step, loss] for step, loss in last["history"]["losses"]],
        "judged": [[step, metric] for step, metric in last["history"]["metrics"]],
        "steps": last["history"]["steps"],
    }


def read_model_names(work):
    """The classes that weights files name: spelled in expected.json, where no renaming finds them."""
    return {path.name: read_whole(path)["model"] for path in sorted(work.glob("*.pt"))}


def replay_metrics(folder, seed=1):
    flags = (
        "--seed",
        seed,
        "--from",
        "2023-11-18",
        "--positive",
        "save",
        "--positive",
        "click",
        "--staleness",
        "0s,never",
        "--json",
    )
    vectors = ("--user-vectors", folder / "run" / "vectors" / "users")
    log, bundle = folder / "log" / "actions.parquet", folder / "run" / "bundle"
    done = rankstream("replay", "--events", log, "--bundle", bundle, *vectors, *flags)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    metrics = {
        variant: {name: one["value"] for name, one in of["any positive"].items()}
        for variant, of in report["metrics"].items()
    }
    return {"events": report["log"]["events"], "points": report["requests"], "figures": metrics}


# --- states, stores, the changelog


@pytest.mark.parametrize("name", ["empty", "few", "full"])
def test_a_packed_state_reads_the_same_and_survives_the_bytes_of_now(name):
    packed = (SAVED / "states" / f"{name}.bin").read_bytes()
    assert not differences(read_state(packed), expected()["states"][name])
    now = unpack_state(packed, LIMIT)
    assert now.departed == 0  # format 1 counted nothing
    assert unpack_state(now.pack(), LIMIT) == now


def test_a_record_of_format_2_reads_the_same_and_packs_to_the_same_bytes():
    """50 actions, the types one after the other, of which a history of 20 holds the last."""
    packed = (SAVED.parent / "records-2" / "full.bin").read_bytes()
    state = unpack_state(packed, LIMIT)
    types = state.history.columns().action_types
    assert (state.offset, state.total, types.tolist()) == (49, 50, [2, 1, 4, 3] * 5)
    assert (ever_done(state.departed, types, 4) - ever_done(0, types, 4)).tolist() == [8, 8, 7, 7]
    assert (state.tail.tag, np.frombuffer(state.tail.state, np.float16).tolist()) == (123456789, [0.5, -1.25, 0.0])
    assert state.pack() == packed


def test_a_state_folder_has_its_users_and_its_position(tmp_path):
    assert not differences(read_store(open_store(SAVED, tmp_path)), expected()["store"])


def test_a_state_folder_still_refuses_a_vocabulary_of_other_codes(tmp_path):
    folder, names = (
        shutil.copytree(SAVED / "state", tmp_path / "state") / "rankstream",
        ("view", "click", "save", "hide"),
    )
    keep_vocabulary(folder, Vocabulary((*names, "share"), ("home", "search")))
    with pytest.raises(VocabularyRefusedError, match="were written with the actions view, click, save, hide"):
        keep_vocabulary(folder, Vocabulary(names[::-1], ("home", "search")))


def test_the_changelog_restores_what_the_state_folder_holds(tmp_path):
    changes, restored = records("user-state-changelog"), MemoryStore()
    job = RestoreJob(TP("user-state-changelog", 0), restored, Bounds(0, len(changes)))
    job.apply(changes)
    job.finish()
    store = open_store(SAVED, tmp_path)
    assert dict(restored.items()) == dict(store.items())
    assert restored.next_offset == store.next_offset


# --- topics


@pytest.mark.parametrize("topic", STRUCTS)
def test_every_field_of_a_record_is_still_known_by_its_name(topic):
    refused = {one["offset"] for one in dead_letters() if one["topic"] == topic}
    values = [one.value for one in records(topic) if topic == "ranking-requests" or one.offset not in refused]
    for value in values:
        written, again = (
            json.loads(value),
            json.loads(msgspec.json.encode(msgspec.json.decode(value, type=STRUCTS[topic]))),
        )
        assert {name: again[name] for name in written} == written
        assert {again[name] for name in again.keys() - written.keys()} <= {None}  # newer ones say nothing of it


def dead_letters():
    return [json.loads(one.value) for one in records("dead-letters")]


def test_actions_of_then_come_to_the_same_states_and_dead_letters(tmp_path):
    pipeline = Pipeline(UserCache(MemoryStore(), LIMIT), serving())
    dead = [json.loads(one.value) for one in pipeline.on_actions(records("user-actions"))]
    users = pipeline.users
    users.commit(users.take_changes(expected()["store"]["next_offset"]))
    assert not differences(read_store(users.store), expected()["store"], tolerance=2e-3)  # float16
    wanted = [{**one, "message": ""} for one in dead_letters() if one["topic"] == "user-actions"]
    assert [{**one, "message": ""} for one in dead] == wanted


def test_what_was_served_is_verified():
    flags = ("--bundle", SAVED / "run" / "bundle", "--user-vectors", SAVED / "run" / "vectors" / "users", *CONFIG)
    done = rankstream("verify", "--from", SAVED / "topics", *flags, "--tolerance", "1e-4", "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["differences"], report["unverified"]) == (0, [], {})
    assert report["verified"] == len(records("served-features"))


def test_golden_requests_are_answered_as_then(tmp_path):
    answered = answer_golden_requests(SAVED, open_store(SAVED, tmp_path))
    feeds, then = (
        [feed for feed in some if feed["request_id"] != OF_A_STRANGER] for some in (answered, expected()["feeds"])
    )
    assert len(feeds) == 2
    assert not differences(feeds, then)
    sent = {feed["request_id"]: feed for feed in (json.loads(one.value) for one in records(Channel.FEEDS.value))}
    for feed in feeds:
        assert not differences(feed["items"], sent[feed["request_id"]]["items"])


def test_a_stranger_is_proposed_what_is_popular_where_neighbours_of_a_mean_item_were(tmp_path):
    answered = answer_golden_requests(SAVED, open_store(SAVED, tmp_path))
    now, then = (
        next(feed for feed in some if feed["request_id"] == OF_A_STRANGER) for some in (answered, expected()["feeds"])
    )
    assert not differences(*({**feed, "items": [], "unknown_items": 0} for feed in (now, then)))
    assert len(now["items"]) == len(then["items"]) == 5
    assert {item["source"] for item in now["items"]} == {"popular:fallback"}


# --- bundles and tables


def test_a_bundle_is_verified_and_holds_the_same():
    assert not differences(read_bundle(SAVED), expected()["bundle"])


def test_tables_of_users_hold_the_same_vectors():
    assert not differences(read_tables(SAVED), expected()["tables"], tolerance=0)


def test_a_table_is_still_its_models(tmp_path):
    """Else the daily job would encode everybody again, and workers would refuse what it publishes."""
    a_copy("run", tmp_path)
    done = rankstream("embed", SAVED / "log" / "actions.parquet", "--from", tmp_path / "run")
    assert "nothing new by 2023-11-18" in done.output
    assert user_space(load_models(SAVED / "run" / "work").pinnerformer) == expected()["bundle"]["user_space"]


def test_vectors_encoded_now_are_those_of_then(tmp_path):
    a_copy("run", tmp_path)
    log, out = SAVED / "log" / "actions.parquet", tmp_path / "users"
    done = rankstream("embed", log, "--from", tmp_path / "run", "--to", out)
    assert done.exit_code == 0, done.output
    now, then = read_table(versions(out)[0]), expected()["tables"]["tables"][expected()["tables"]["current"]]
    assert not differences(now, then, tolerance=2e-3)  # float16


# --- trainings


def test_weights_files_name_their_models_as_they_were_called():
    """The other tests show nothing unless the files are those of then, never written again."""
    assert read_model_names(SAVED / "run" / "work") == expected()["models"]


def test_a_training_reports_the_same_of_itself():
    assert not differences(read_training(SAVED / "run" / "work"), expected()["training"])


def test_weights_return_what_their_bundle_returns():
    models, golden = load_models(SAVED / "run" / "work"), read_golden(SAVED / "run" / "bundle" / "golden.npz")
    for case, given in zip(golden["ranker"], probabilities(models.ranker, golden), strict=True):
        np.testing.assert_allclose(given, case["probabilities"], atol=1e-5)
    sessions = TorchSessions(models.hiertcn)
    for folded in (case_of(FoldCase, case) for case in golden["fold"]):
        np.testing.assert_allclose(sessions.fold(folded.states, folded.pooled), folded.new_states, atol=1e-4)
    for encoded in (case_of(EncodeCase, case) for case in golden["encode"]):
        vector = sessions.encode(encoded.state, encoded.closed, encoded.opened)
        np.testing.assert_allclose(vector, encoded.session_vector, atol=1e-4)


def test_weights_have_the_names_that_bundles_states_and_tables_know_them_by():
    models, manifest = load_models(SAVED / "run" / "work"), read_manifest(SAVED / "run" / "bundle")
    assert model_version_of(models.ranker, models.item_space, models.about.utility) == manifest.model_version
    assert (
        weights_tag(models.hiertcn)
        == parts_of(manifest)["sessions"].facts["tag"]
        == expected()["states"]["full"]["tag"]
    )
    assert (models.item_space, user_space(models.pinnerformer)) == (manifest.item_space, manifest.user_space)


@pytest.mark.parametrize("run", ["run", "stopped"])
def test_a_training_by_the_recipe_of_then_is_left_as_it_is_and_the_way_on_is_said(tmp_path, run):
    """The ranker is trained on other requests and features since: going on would end with neither recipe's ranker."""
    out = a_copy(run, tmp_path)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    done = rankstream("train", SAVED / "log" / "actions.parquet", "--out", out, *TRAINED, *CONFIG)
    assert done.exit_code == 2
    assert "holds a training with other settings" in " ".join(done.output.split())
    assert "name a new folder" in " ".join(done.output.split())
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_stopped_trainings_checkpoints_are_read():
    last = read_whole(SAVED / "stopped" / "work" / "checkpoints" / "ranker" / "last.pt")
    assert last["history"]["steps"] == 3


# --- recorded logs


def test_a_log_in_parquet_has_the_vocabulary_that_it_was_written_with():
    path = SAVED / "log" / "actions.parquet"
    wanted = (("view", "click", "save", "hide"), ("home", "search"))
    for vocabulary in (read_log(open_log(path)).vocabulary, open_log(path).vocabulary):
        assert (vocabulary.actions, vocabulary.surfaces) == wanted


def test_a_replay_returns_the_metrics_of_then():
    """Candidates of equal scores, which this bundle has many of, are ranked in another random order than then.

    Of popularity's there is one such pair in the 16 requests: 1/2 against 1/3 in one of 14 reciprocal ranks.
    """
    then = expected()["replay"]
    now = [replay_metrics(SAVED, seed) for seed in range(6)]
    for one in now:
        assert (one["events"], one["points"]) == (then["events"], then["points"])
        assert not differences(one["figures"]["random order"], then["figures"]["random order"], tolerance=1e-6)
    for variant, metrics in then["figures"].items():
        for metric, value in metrics.items():
            found = [one["figures"][variant][metric] for one in now]
            room = 1 / 6 / 14 + 1e-3 if variant == "popularity" else 1e-3
            assert min(found) - room <= value <= max(found) + room, (variant, metric)
