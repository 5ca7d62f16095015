"""`train`, `export`, `evaluate` and `embed` on a small log; and `rankstream` alone never loads torch."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rankstream.bundles.item_counts import counts_recipe_of
from rankstream.bundles.manifest import read_manifest
from rankstream.cli.errors import Refusal
from rankstream.cli.options.event_logs import read_events
from rankstream.cli.options.train_settings import TrainSettings
from rankstream.cli.options.training import recipe_of, with_settings
from rankstream.events.log_kind import LogKind
from rankstream.events.open import LogOptions
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import id_keys
from rankstream.features.interests.table import open_interests
from rankstream.features.item_counts.files import counting, open_counts
from rankstream.features.matches.tables import matches_tag
from rankstream.models.items.item_counts import item_counts
from rankstream.models.recipes.bundle import recipe_for
from rankstream.models.recipes.run_folder import one_at_a_time
from rankstream.models.recipes.train import train_models
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.setting_fields import flag
from tests.builders.cli import rankstream, refusal

ROOT = Path(__file__).parents[2]
MORNING_MS = 1_700_006_400_000  # midnight, 15 November 2023
DAY_MS = 86_400_000
NEW = 999  # an item that is first acted on at the end of the training
UNTIL = "2023-11-18"
BEFORE = MORNING_MS + 3 * DAY_MS
STEPS = dict.fromkeys(("user_steps", "session_steps", "ranker_steps"), 3)
WIDTHS = ("item_dim", "user_dim", "user_width", "session_width", "session_state", "width")
SMALL = STEPS | {"batch": 4} | dict.fromkeys(WIDTHS, 8)
TINY = [word for name, value in SMALL.items() for word in (flag(name), value)]


def rows_of(users, days):
    """One action an hour of each user in the morning of each day, on items of the user's kind."""
    rng = np.random.default_rng(0)
    return [
        {
            "user_id": user,
            "item_id": int(rng.integers(10)) * 2 + user % 2,
            "action": str(rng.choice(["view", "view", "save"])),
            "timestamp_ms": MORNING_MS + day * DAY_MS + hour * 600_000 + user,
        }
        for day in days
        for user in users
        for hour in range(6)
    ]


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def log(tmp_path):
    return write(tmp_path / "log.jsonl", rows_of(range(4), range(2)))


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """What `rankstream train` leaves: trained on three days of four, the fourth held out."""
    folder = tmp_path_factory.mktemp("run")
    for day in range(4):
        write(folder / "actions" / f"day-{day}.jsonl", rows_of(range(12), [day]))
    done = train(folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory):
    """The bundle of the models of ``run``, exported once, as that takes its time, and what stood in ``run`` before."""
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    before = files_of(run / "out")
    done = rankstream("export", "--from", run / "out", "--to", folder, "--utility", "view=2")
    assert done.exit_code == 0, done.output
    return folder, before, files_of(run / "out")


@pytest.fixture(scope="session")
def bundle(exported):
    """Nothing may be written into it."""
    return exported[0]


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def train(folder, *more):
    flags = ("--out", folder / "out", "--positive", "save", "--until", UNTIL, "--no-export")
    return rankstream("train", folder / "actions", *flags, *TINY, *more)


def test_training_publishes_user_vectors_as_of_its_end(run):
    assert EmbeddingTable.open(run / "out" / "vectors" / "users").as_of_ms == MORNING_MS + 3 * DAY_MS - 1


def test_of_exposures_encoders_learn_before_the_ranker_does(tmp_path):
    """Else an item's features would know the very labels that the ranker is to predict."""
    rows = rows_of(range(6), range(3))
    rows.append({"user_id": 0, "item_id": NEW, "action": "save", "timestamp_ms": MORNING_MS + 3 * DAY_MS - 1})
    log, known = read_events(write(tmp_path / "log.jsonl", rows), LogOptions())
    kind = replace(known, positives=("save",), exposures=True, encoders_share=0.7)
    recipe = with_settings(recipe_for(kind, log.vocabulary), TrainSettings(**SMALL), torch.device("cpu"))
    models = train_models(log, recipe, tmp_path / "work")
    assert models.about.impressions
    assert models.about.calibrated == ()  # asked, but 18 days of users hold too few positives
    assert models.item_table.ids[-1] == NEW  # the encoders did not know it; it came to the others when they were done
    assert NEW not in models.item_table.ids[:-1]
    assert models.about.until_ms == MORNING_MS + 3 * DAY_MS


def test_training_writes_logs_for_tensorboard(run):
    pytest.importorskip("tensorboard")
    for model in ("pinnerformer", "hiertcn", "ranker"):
        assert list((run / "out" / "work" / "checkpoints" / model).glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_export_makes_a_bundle_without_training_or_touching_user_vectors(run, exported):
    bundle, before, after = exported
    manifest = read_manifest(bundle)
    assert manifest.utility == {"save": 0.0, "view": 2.0}
    assert manifest.trained_until_ms == MORNING_MS + 3 * DAY_MS
    assert manifest.metrics["trained_on_actions"] == 3 * 12 * 6
    assert EmbeddingTable.open(run / "out" / "vectors" / "users").space == manifest.user_space
    assert after.items() >= before.items()


def test_an_ended_training_is_not_trained_again(run):
    work = run / "out" / "work"
    before = {path.name: path.read_bytes() for path in work.rglob("*") if path.suffix == ".pt" or "events" in path.name}
    assert train(run).exit_code == 0
    after = {path.name: path.read_bytes() for path in work.rglob("*") if path.suffix == ".pt" or "events" in path.name}
    assert after == before


def test_a_folder_of_another_training_is_refused(run):
    assert "holds a training with other settings (seed" in refusal(train(run, "--seed", 3))


def test_two_trainings_in_one_folder_at_one_time_do_not_write_each_others_checkpoints(log, tmp_path):
    work = tmp_path / "run" / "work"
    with one_at_a_time(work):
        words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--positive", "save", *TINY))
    assert words == f"another process is training in {work}; wait until it has ended, or name another folder"
    assert not list(work.iterdir())


def test_evaluation_measures_each_model_on_what_was_held_out(run):
    done = rankstream("evaluate", run / "actions", "--from", run / "out", "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert shown["since_ms"] == MORNING_MS + 3 * DAY_MS
    metrics = {(one["model"], one["metric"]) for one in shown["metrics"]}
    assert {("HierTCN", "MRR"), ("HierTCN", "Recall@10"), ("ranker", "AUC save")} <= metrics
    for one in shown["metrics"]:
        assert 0 <= one["low"] <= one["mean"] <= one["high"] <= 1, one
        assert {"popularity", "item-kNN", "VMIS-kNN", "next after the last item"} <= set(one["baselines"])
        assert all(each["low"] <= each["mean"] <= each["high"] for each in one["baselines"].values())
        best = max(one["baselines"].values(), key=lambda each: each["mean"])
        assert one["baselines"][one["best_baseline"]] == best
        assert one["ahead"]["mean"] == pytest.approx(one["mean"] - best["mean"])
        assert one["verdict"].startswith(one["model"])


def test_evaluation_shows_every_baseline_and_a_verdict_for_each_metric(run):
    done = rankstream("evaluate", run / "actions", "--from", run / "out")
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    for model in ("PinnerFormer", "HierTCN", "ranker"):
        verdict = rf"{model} (beats|loses to|is not clearly different from) [\w' -]+, the best of \d baselines"
        assert re.search(verdict, words)
    assert "95 % intervals" in words
    assert "item-kNN" in words


def test_items_without_a_vector_are_misses_of_every_ranker_and_counted(run, tmp_path):
    for day in range(3):
        (tmp_path / f"day-{day}.jsonl").write_text((run / "actions" / f"day-{day}.jsonl").read_text())
    unknown = [row | {"item_id": row["item_id"] + NEW} for row in rows_of(range(12), [3])]
    write(tmp_path / "day-3.jsonl", unknown)
    done = rankstream("evaluate", tmp_path, "--from", run / "out", "--json")
    assert done.exit_code == 0, done.output
    metrics = {(one["model"], one["metric"]): one for one in json.loads(done.stdout)["metrics"]}
    for one in (metrics["HierTCN", "Recall@10"], metrics["HierTCN", "MRR"], metrics["ranker", "HIT@3 save"]):
        assert one["unknown"] >= one["queries"] > 0
        assert one["mean"] == 0
        assert {each["mean"] for each in one["baselines"].values()} == {0}
    table = rankstream("evaluate", tmp_path, "--from", run / "out").output
    assert "have no vector: nobody can find them" in " ".join(table.split())


def test_evaluation_needs_something_that_was_held_out(run):
    words = refusal(rankstream("evaluate", run / "actions" / "day-0.jsonl", "--from", run / "out"))
    assert "has nothing to evaluate after 2023-11-18 00:00:00 UTC; train with an earlier --until" in words


def test_evaluation_of_a_time_that_was_trained_on_is_refused(run):
    words = refusal(rankstream("evaluate", run / "actions", "--from", run / "out", "--since", "2023-11-17"))
    assert "lies before the end of the training, 2023-11-18 00:00:00 UTC" in words


def test_embedding_encodes_the_active_and_leaves_the_others_to_the_bit(run, tmp_path):
    (tmp_path / "actions").mkdir()
    for path in (run / "actions").glob("day-[012]*.jsonl"):
        (tmp_path / "actions" / path.name).write_text(path.read_text())
    write(tmp_path / "actions" / "day-3.jsonl", rows_of(range(3), [3]))  # three of twelve users
    table = tmp_path / "users"
    first = rankstream("embed", tmp_path / "actions", "--from", run / "out", "--to", table, "--as-of", UNTIL)
    assert "12 all users encoded, 0 kept" in first.output
    before = EmbeddingTable.open(table)
    second = rankstream("embed", tmp_path / "actions", "--from", run / "out", "--to", table)
    assert "3 users who acted since the last table encoded, 9 kept" in second.output
    after = EmbeddingTable.open(table)
    rankstream("embed", tmp_path / "actions", "--from", run / "out", "--to", tmp_path / "full", "--full")
    full = EmbeddingTable.open(tmp_path / "full")
    active, others = (id_keys(range(first, last)) for first, last in ((0, 3), (3, 12)))
    # other batches add up in another order: at most the last bit of a float16 differs
    np.testing.assert_allclose(vectors(after, active), vectors(full, active), rtol=2**-10, atol=1e-6)
    assert vectors(after, others).tobytes() == vectors(before, others).tobytes()
    assert vectors(after, active).tobytes() != vectors(before, active).tobytes()
    third = rankstream("embed", tmp_path / "actions", "--from", run / "out", "--to", table)
    assert "nothing new by 2023-11-18" in third.output
    assert EmbeddingTable.open(table).version == after.version


def test_embedding_finds_interests_where_asked_which_the_bundle_serves_and_a_command_shows(run, bundle, tmp_path):
    root = tmp_path / "interests"
    flags = ("--from", run / "out", "--to", tmp_path / "users", "--counts-to", tmp_path / "counts")
    flags = (*flags, "--items-to", tmp_path / "items")
    assert json.loads(rankstream("embed", run / "actions", *flags, "--json").stdout)["interests"] is None
    done = rankstream("embed", run / "actions", *flags, "--interests-to", root, "--as-of", UNTIL)
    table = open_interests(root)
    assert f"{table.header.interests} interests of {len(table)} users" in done.output
    assert LiveRanker.open(bundle, interests=root).current.interests == table.version
    shown = rankstream("interests", 3, "--interests", root, "--bundle", bundle)
    assert f"interests of user 3 as of {UNTIL}" in shown.output
    found = json.loads(rankstream("interests", 3, "--interests", root, "--bundle", bundle, "--json").stdout)
    assert found["interests"] == sorted(found["interests"], key=lambda one: -one["importance"])
    assert sum(one["share"] for one in found["interests"]) == pytest.approx(1)


def test_embedding_publishes_item_counts_as_of_the_same_time_which_the_bundle_takes(run, bundle, tmp_path):
    flags = ("--from", run / "out", "--to", tmp_path / "users", "--counts-to", tmp_path / "counts")
    for until in (UNTIL, "2023-11-19"):
        done = rankstream("embed", run / "actions", *flags, "--as-of", until, "--json")
        assert done.exit_code == 0, done.output
    counts, manifest = open_counts(tmp_path / "counts"), read_manifest(bundle)
    assert json.loads(done.stdout)["item_counts"] == str(tmp_path / "counts" / counts.version)
    with counting(tmp_path / "counts"):
        beside = rankstream("embed", run / "actions", *flags, "--json")
    assert json.loads(beside.stdout)["item_counts"] is None
    assert "`rankstream count` publishes newer ones into" in beside.stderr
    assert counts.as_of_ms == EmbeddingTable.open(tmp_path / "users").as_of_ms
    recipe = counts_recipe_of(manifest)
    assert (set(recipe.matched), recipe.feature_names) == ({"view", "save"}, counts.feature_names)
    serving = LiveRanker.open(bundle, tmp_path / "users", tmp_path / "counts")
    assert serving.current.item_counts == counts.version


def test_embedding_places_new_items_among_the_others_which_keep_their_vectors(run, bundle, tmp_path):
    """An item that came after the training is counted, and a worker finds it; one that none stands beside is not."""
    actions, flags = tmp_path / "actions", ("--to", tmp_path / "users", "--items-to", tmp_path / "items")
    flags = (*flags, "--counts-to", tmp_path / "counts")
    new = [{**row, "item_id": "brand new"} if at % 7 == 0 else row for at, row in enumerate(rows_of(range(12), [3]))]
    write(
        actions / "day-3.jsonl", [*new, {"user_id": 77, "item_id": "alone", "action": "view", "timestamp_ms": BEFORE}]
    )
    flags = ("--to", tmp_path / "users", "--items-to", tmp_path / "items", "--counts-to", tmp_path / "counts")
    done = rankstream("embed", actions, "--from", run / "out", *flags)
    assert done.exit_code == 0, done.output
    table, own = EmbeddingTable.open(tmp_path / "items"), open_bundle(bundle).items
    assert f"{len(own) + 1} items, 1 of them newer than the training" in done.output
    assert vectors(table, own.keys).tobytes() == vectors(own, own.keys).tobytes()
    assert table.rows(id_keys(["brand new", "alone"]))[1].tolist() == [True, False]
    serving = LiveRanker.open(bundle, tmp_path / "users", tmp_path / "counts", tmp_path / "items")
    features, found = serving.current.offline.item_features.look_up(id_keys(["brand new"]))
    assert found.all()
    assert features[0, 0] > 0  # its popularity
    assert serving.current.item_vectors == table.version
    assert "no new item" in rankstream("embed", actions, "--from", run / "out", *flags).output


def test_item_counts_as_of_the_trainings_end_are_the_bundles_own(run, bundle):
    """Counted by what the bundle says of itself, of its items alone."""
    bundle = open_bundle(bundle)
    log, _ = read_events(run / "actions", LogOptions(), bundle.manifest.vocabulary)
    ids = np.array(bundle.items.ids(range(len(bundle.items))))
    items = ItemTable(ids, np.zeros((len(ids), 0), np.float32))
    counts = item_counts(log, items, counts_recipe_of(bundle.manifest), bundle.manifest.trained_until_ms - 1)
    assert counts.item_features.vectors.tobytes() == bundle.item_features.vectors.tobytes()
    assert len(counts.matches) > 0
    assert matches_tag(counts.matches) == matches_tag(bundle.matches)


def vectors(table, keys):
    """The float16 vectors as they lie in the table."""
    rows, found = table.rows(keys)
    assert found.all()
    return np.asarray(table.vectors[rows])


BAD = ({"user_id": 1, "item_id": 2}, {"user_id": 1, "item_id": 2, "action": "save", "timestamp_ms": 5}, {"user_id": 1})


def test_rows_that_a_worker_would_reject_are_skipped_and_counted(run, tmp_path):
    rows = [json.loads(line) for line in (run / "actions" / "day-0.jsonl").read_text().splitlines()]
    clean = write(tmp_path / "clean.jsonl", rows)
    bad = write(tmp_path / "bad.jsonl", [*BAD[:1], *rows, *BAD[1:]])
    tables = []
    for log in (clean, bad):
        done = rankstream("embed", log, "--from", run / "out", "--to", tmp_path / log.stem)
        assert done.exit_code == 0, done.output
        tables.append(EmbeddingTable.open(tmp_path / log.stem))
    assert done.stderr.splitlines() == [
        f"skipped 1: schema: no action ({bad}, line 1: there is no action; it has user_id, item_id: name one with "
        "--map action=COLUMN)",
        f"skipped 1: timestamp: before 1973 ({bad}, line 74: timestamp_ms is 5, read as 1970-01-01)",
        f"skipped 1: schema: no item_id ({bad}, line 75: there is no item_id; it has user_id: name one with --map "
        "item_id=COLUMN)",
    ]
    assert np.asarray(tables[0].vectors).tobytes() == np.asarray(tables[1].vectors).tobytes()


@pytest.mark.parametrize("command", ["train", "evaluate", "embed"])
def test_strict_refuses_a_log_with_such_rows(command, run, tmp_path):
    log = write(tmp_path / "bad.jsonl", [*rows_of(range(2), [0]), BAD[0]])
    where = ("--out", tmp_path / "new", "--positive", "save") if command == "train" else ("--from", run / "out")
    words = refusal(rankstream(command, log, *where, "--strict"))
    assert "1 of the 13 rows of" in words
    assert "the reason is schema: no action" in words
    assert "line 13: there is no action" in words


def test_a_log_that_is_not_there(tmp_path):
    words = refusal(rankstream("train", tmp_path / "gone.csv", "--out", tmp_path / "run", "--positive", "save"))
    assert "there is no file" in words


def test_an_action_that_the_log_lacks_is_named_with_those_it_has(log, tmp_path):
    words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--positive", "like"))
    assert words == "the log has no action like; it has save, view"


def test_the_only_action_of_a_log_is_the_positive_one():
    given = LogKind("events"), Vocabulary(("buy",)), TrainSettings(), torch.device("cpu")
    assert recipe_of(*given).encoders.positives == ("buy",)
    with pytest.raises(Refusal, match="name the positive actions with --positive"):
        recipe_of(*given, negatives=("buy",))


def test_training_needs_positive_actions(log, tmp_path):
    assert "--positive" in refusal(rankstream("train", log, "--out", tmp_path / "run"))


@pytest.mark.parametrize(("given", "message"), [("save", "is no head=weight"), ("like=1", "no head predicts like")])
def test_a_weight_that_is_no_number_or_of_no_head(log, tmp_path, given, message):
    words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--positive", "save", "--utility", given))
    assert message in words


def test_a_bundle_is_never_overwritten(log, tmp_path):
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--positive", "save"))
    assert words.endswith("run/bundle is there already; a bundle never changes: name a new folder")


def test_a_time_before_which_nothing_happened(log, tmp_path):
    words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--positive", "save", "--until", "2020-01-01"))
    assert words.startswith("0 actions of 0 users lie before the training's end")


def test_a_time_that_is_none(log, tmp_path):
    words = refusal(rankstream("train", log, "--out", tmp_path / "run", "--until", "soon"))
    assert words.startswith("--until 'soon' is no time; write 2022-05-04")


def test_training_that_runs_out_of_minutes_shows_how_to_go_on(log, tmp_path):
    done = rankstream("train", log, "--out", tmp_path / "run", "--positive", "save", "--minutes", 0, *TINY)
    assert done.exit_code == 0, done.output
    assert "HierTCN is at step 1 of 3; the same command goes on from there" in done.stdout
    assert not (tmp_path / "run" / "bundle").exists()


def test_exporting_what_was_never_trained(tmp_path):
    assert "no training has come to its end there" in refusal(
        rankstream("export", "--from", tmp_path, "--to", tmp_path / "b")
    )


def test_embedding_with_a_model_that_was_never_trained(log, tmp_path):
    assert "no training has come to its end there" in refusal(rankstream("embed", log, "--from", tmp_path))


def test_only_training_loads_torch():
    """Importing every other command, and showing the help of all, leaves torch alone."""
    code = (
        "import sys, importlib\n"
        "from rankstream.cli.main import COMMANDS, module_of\n"
        "for name in COMMANDS: importlib.import_module(module_of(name))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"
