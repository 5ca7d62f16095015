"""`train --items --users`: what both are reaches the ranker, and the bundle, which serves what was trained."""

import json
import shutil

import numpy as np
import pytest

from rankstream.cli.options.event_logs import read_events
from rankstream.events.open import LogOptions
from rankstream.features.attributes.columns import attribute_width, column_names
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.ids import id_keys
from rankstream.features.item_counts.files import open_counts
from rankstream.features.join import columns_of_attributes, join, match_user
from rankstream.features.matches.columns import MATCH_NAMES, match_width
from rankstream.models.ranker.training_join import offline_features
from rankstream.models.recipes.run_folder import load_models
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from tests.builders.actions import a_state, an_action
from tests.builders.cli import rankstream, refusal
from tests.cli.test_training import MORNING_MS, TINY, UNTIL, rows_of, write

HEADER = "sku,category,price,created\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Three days of actions, a file of items, and what `train --items` made of both: one training, one export."""
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "actions.jsonl", rows_of(range(12), range(3)))
    lines = [f"{item},Things > {'even' if item % 2 == 0 else 'odd'},{item + 1}.5,2023-11-0{1 + item % 9}"
             for item in range(25)]  # fmt: skip
    (folder / "items.csv").write_text(HEADER + "\n".join(lines))
    users = [f"{user},{'odd' if user % 2 else 'even'},{'' if user == 3 else 'paid' if user < 5 else 'free'}"
             for user in range(20)]  # fmt: skip
    (folder / "users.csv").write_text("\n".join(["customer,kind,plan", *users]))
    done = train(folder, "items.csv")
    assert done.exit_code == 0, done.output
    assert "20 users, 100.0% of the log's among them; with their labels: kind (2), plan (2)" in done.stderr
    assert "25 items, on which 100.0% of the log's actions are" in done.stderr
    assert "says what items are as of 20" in done.stderr  # a file is as of now, and --until holds out what came before
    return folder


def train(folder, items, *more):
    flags = ("--out", folder / "out", "--positive", "save", "--until", UNTIL, "--items", folder / items)
    flags = (*flags, "--users", folder / "users.csv")
    return rankstream("train", folder / "actions.jsonl", *flags, *TINY, *more)


def test_the_ranker_has_a_column_for_each_thing_that_is_known(shop):
    models = load_models(shop / "out" / "work")
    names = models.attributes.names
    assert (names.facets, names.numbers, names.dated) == (("category, level 2",), ("price",), True)
    types = len(models.about.vocabulary.actions)
    assert models.ranker.config.sizes.match_features == match_width(types) + attribute_width(names)
    manifest = json.loads((shop / "out" / "bundle" / "manifest.json").read_text())
    (facts,) = (part["facts"] for part in manifest["parts"] if part["kind"] == "attributes")
    assert facts == {"columns": attribute_width(names), "names": list(column_names(names))}


def test_the_bundle_joins_and_scores_as_the_training_does(shop):
    models, bundle = load_models(shop / "out" / "work"), open_bundle(shop / "out" / "bundle")
    log, _ = read_events(shop / "actions.jsonl", LogOptions(), models.about.vocabulary)
    user, keys = a_state(an_action("3", 1), an_action("4", 2)), id_keys(range(27))  # user 1: odd, paid
    nobody = NoVectors(bundle.manifest.sizes.user_dim)
    served = bundle.offline_features(nobody)
    trained = offline_features(log, models, models.ranker.config.sizes, MORNING_MS)
    inputs, same = (join(match_user(user, 1, MORNING_MS, one), keys, one) for one in (served, trained))
    columns = columns_of_attributes(served.sizes, len(models.about.vocabulary.actions))
    # The session's vector is ONNX Runtime's and torch's, which some processors sum in another order.
    near = served.sizes.item_features + MATCH_NAMES.index("near_session")
    exact, others = (np.delete(one.candidate_features, near, axis=1) for one in (inputs, same))
    assert exact.tobytes() == others.tobytes()
    np.testing.assert_allclose(inputs.candidate_features[:, near], same.candidate_features[:, near], atol=1e-6)
    assert inputs.candidate_features[:25, columns].any(axis=1).all()
    assert inputs.context.tobytes() == same.context.tobytes()
    assert inputs.context[-4:].tolist() == [0, 1, 0, 1]
    expected = models.ranker.probabilities(inputs).numpy()
    np.testing.assert_allclose(bundle.backend.score(inputs), expected, atol=1e-5)


def test_item_counts_that_are_made_daily_serve_beside_what_items_are(shop):
    flags = ("--from", shop / "out", "--to", shop / "users", "--counts-to", shop / "counts")
    done = rankstream("embed", shop / "actions.jsonl", *flags)
    assert done.exit_code == 0, done.output
    ranker = LiveRanker.open(shop / "out" / "bundle", shop / "users", shop / "counts").current
    assert ranker.item_counts == open_counts(shop / "counts").version
    assert len(ranker.offline.attributes) == 25


def test_an_item_that_nobody_has_acted_on_is_found_and_told_from_others_before_the_next_training(shop, tmp_path):
    lines = (shop / "items.csv").read_text() + "\nnew odd,Things > odd,5.5,2023-11-01\n"
    (tmp_path / "items.csv").write_text(lines + "new even,Things > even,5.5,2023-11-01\nelse,Gifts > else,,\n")
    flags = ("--from", shop / "out", "--to", tmp_path / "users", "--counts-to", tmp_path / "counts")
    flags = (*flags, "--items-to", tmp_path / "items", "--items", tmp_path / "items.csv")
    done = rankstream("embed", shop / "actions.jsonl", *flags)
    assert done.exit_code == 0, done.output
    assert "of these by what they are" in done.output
    assert "the item vectors are as of 20" in done.stderr  # a file is as of now, and no replay of before sees them
    tables = shop / "out" / "bundle", tmp_path / "users", tmp_path / "counts", tmp_path / "items"
    ranker = LiveRanker.open(*tables).current
    rows = ranker.offline.attributes.rows(id_keys(["new odd", "3", "new even", "4"]))
    labels = ranker.offline.attributes.labels[:, rows]
    assert (labels[:, 0] == labels[:, 1]).all()
    assert (labels[:, 2] == labels[:, 3]).all()
    assert (labels[:, 0] != labels[:, 2]).any()
    feed = ranker.rank(RankingRequest("r", 1, limit=60), a_state(an_action("3", 1), an_action("5", 2)), MORNING_MS)
    found = {item.item_id for item in feed.items if item.source == "described"}
    assert {"new odd", "new even"} <= found
    assert "else" not in found
    assert "no new item" in rankstream("embed", shop / "actions.jsonl", *flags[:-2]).output  # they stay


def test_a_folder_that_was_trained_with_other_items_is_refused(shop, tmp_path):
    copied = shutil.copytree(shop, tmp_path / "shop")
    shutil.rmtree(copied / "out" / "bundle")
    (copied / "items.csv").write_text((copied / "items.csv").read_text().replace("even", "odd"))
    assert "holds a training with other settings (items)" in refusal(train(copied, "items.csv"))


def test_a_folder_that_was_trained_with_other_users_is_refused(shop, tmp_path):
    copied = shutil.copytree(shop, tmp_path / "shop")
    shutil.rmtree(copied / "out" / "bundle")
    (copied / "users.csv").write_text((copied / "users.csv").read_text().replace("1,odd", "1,even"))
    assert "holds a training with other settings (users)" in refusal(train(copied, "items.csv"))


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("user,sex\nx,F\ny,M\n", (), "none of the log's users is in"),
        ("user,sex\n1,F\n2,F\n", (), "sex: it has one value, so it tells no users apart"),
        ("user\n1\n2\n", (), "it has no column but the ids"),
        ("who,sex\n1,F\n2,M\n", (), "name it with --user-columns ID"),
        ("who,sex\n1,F\n2,M\n", ("--user-columns", "who,who"), "is no ID,NAME,..."),
        ("who,sex\n1,F\n2,M\n", ("--user-columns", "who,age"), "has no column age; it has who, sex"),
    ],
)
def test_users_that_say_nothing_are_refused_in_a_sentence(shop, tmp_path, text, flags, words):
    (tmp_path / "users.csv").write_text(text)
    out = ("--out", tmp_path / "out", "--positive", "save", "--users", tmp_path / "users.csv")
    assert words in refusal(rankstream("train", shop / "actions.jsonl", *out, *flags))


def test_columns_of_users_without_users_are_refused(shop, tmp_path):
    said = refusal(rankstream("train", shop / "actions.jsonl", "--out", tmp_path, "--user-columns", "a,b"))
    assert "add --users" in said


def test_a_catalogue_is_as_good_as_its_file(shop, tmp_path):
    copied = shutil.copytree(shop, tmp_path / "shop")
    shutil.rmtree(copied / "out" / "bundle")
    imported = rankstream("catalogue", "import", shop / "items.csv", copied / "catalogue")
    assert imported.exit_code == 0, imported.output
    done = train(copied, "catalogue", "--no-export")  # the same training, which has ended
    assert done.exit_code == 0, done.output


def test_items_that_are_not_those_of_the_log_are_refused_in_a_sentence(tmp_path):
    write(tmp_path / "actions.jsonl", rows_of(range(4), range(2)))
    (tmp_path / "items.csv").write_text(HEADER + "x1,Things,1,2023-11-01\n")
    words = refusal(train(tmp_path, "items.csv"))
    assert "none of the log's items is in" in words
    assert "the items have 'x1'" in words


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n"])
def test_a_file_without_items_is_refused_in_a_sentence(shop, tmp_path, content):
    (tmp_path / "items.csv").write_text(content)
    write(tmp_path / "actions.jsonl", rows_of(range(4), range(2)))
    assert refusal(train(tmp_path, "items.csv")).count("items.csv")
