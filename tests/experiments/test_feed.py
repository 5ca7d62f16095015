"""The feed's table: what is asked, how ranks become metrics, and the command on a small log with a tiny bundle."""

from math import inf
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rankstream.content.catalogue import Catalogue
from rankstream.evaluation.replay.exposures import Exposure
from rankstream.experiments.feed import __main__ as command
from rankstream.experiments.feed.items import MAKES
from rankstream.experiments.feed.judged import ALL, cut_reciprocal_rank, judged, splits_of
from rankstream.experiments.feed.logs import LOGS, FeedLog
from rankstream.experiments.feed.product import Product
from rankstream.experiments.feed.ranked import Ranked, joined
from rankstream.experiments.feed.tables import notes, tables
from rankstream.experiments.feed.task import NextKnown, Task
from rankstream.experiments.feed.users import FILES, UserFile
from rankstream.experiments.runs import Runs
from rankstream.features.ids import id_key
from tests.builders.bundle import AS_OF_MS, a_bundle, a_user_table
from tests.builders.catalogue import an_item
from tests.builders.logs import write_log

MINUTE_MS = 60_000


def a_ranked(ranks, users="uuv", targets=((1,), (2,), (3,)), at=(10, 20, 30), candidates=100):
    names = tuple(f"q{row}" for row in range(len(users)))
    counts = np.full(len(users), candidates)
    rows = {name: [np.array(one, float) for one in found] for name, found in ranks.items()}
    return Ranked(names, tuple(users), np.array(at) * MINUTE_MS + AS_OF_MS, targets, counts, rows)


def a_task(tmp_path, rows, **options):
    path = write_log(tmp_path / "log.csv", rows)
    return Task.open(FeedLog("small", "a small log", path.name, ("save",), **options), tmp_path)


def row(user, item, minutes, action="save"):
    return {"user_id": user, "item_id": item, "action": action, "timestamp_ms": AS_OF_MS + minutes * MINUTE_MS}


@pytest.fixture
def task(tmp_path):
    """Seventeen saves of u before the cut (item 1 ten times, 2 and 3), three of v after it."""
    items = [1] * 10 + [2] * 4 + [3] * 3
    rows = [row("u", item, minutes) for minutes, item in enumerate(items)]
    return a_task(tmp_path, rows + [row("v", item, 20 + item) for item in (1, 2, 9)])


def test_the_last_part_is_held_out_and_the_catalogue_is_what_came_before(task):
    assert len(task.past) == 17
    assert task.catalogue.ids == [1, 2, 3]
    assert task.known_share == pytest.approx(2 / 3)
    assert (task.shown, task.exclude_seen) == (False, False)


def test_seen_items_are_left_out_where_hardly_any_is_repeated(tmp_path):
    task = a_task(tmp_path, [row(f"u{number}", number % 7, number) for number in range(40)])
    assert task.exclude_seen


def test_only_items_that_were_known_are_asked_for():
    protocol = NextKnown(positives=0b10, known={id_key("a")})
    asked = [
        protocol.starts_query(Exposure(0, b"u", "u", item, id_key(item), at, 0b10)) for at, item in enumerate("ab")
    ]
    assert asked == [True, False]


def test_a_log_is_trained_on_as_it_is_ranked():
    assert LOGS["music30"].flags() == []
    assert LOGS["online_retail"].flags() == [
        "--map=user_id=customer_id", "--map=action=kind", "--map=timestamp_ms=time", "--positive=purchase",
    ]  # fmt: skip
    assert LOGS["ml1m"].flags() == ["--format=movielens"]


def test_a_reciprocal_rank_beyond_k_is_none():
    assert [cut_reciprocal_rank(np.array([rank]), 20) for rank in (4, 20, 21, inf)] == [0.25, 0.05, 0, 0]


def test_metrics_and_differences_are_those_of_the_ranks(task):
    found = judged(a_ranked({"product": [[1], [21], [inf]], "other": [[4], [2], [3]]}), task, ["product"])
    hr, mrr, ndcg = (found["rows"]["product"][name][ALL][0] for name in ("hr@20", "mrr@20", "ndcg@10"))
    assert (hr, mrr, ndcg) == (0.3333, 0.3333, 0.3333)
    assert found["rows"]["other"]["mrr@20"][ALL][0] == pytest.approx((1 / 4 + 1 / 2 + 1 / 3) / 3, abs=1e-4)
    assert found["differences"]["product"]["other"]["hr@20"][ALL][0] == pytest.approx(-2 / 3, abs=1e-4)
    assert found["splits"][ALL] == {"queries": 3, "users": 2}


def test_a_product_of_several_trainings_has_their_mean_query_by_query(task):
    ranked = a_ranked({"product": [[1], [21], [1]], "product, seed 1": [[2], [2], [2]], "other": [[4], [2], [3]]})
    found = judged(ranked, task, ["product"], trainings={"product": ("product", "product, seed 1")})
    assert found["rows"]["product"]["mrr@20"][ALL][0] == pytest.approx((0.75 + 0.25 + 0.75) / 3, abs=1e-4)
    assert found["trainings"] == {
        "product": {"hr@20": [0.6667, 1.0], "mrr@20": [0.6667, 0.5], "ndcg@10": [0.6667, 0.6309]}
    }
    assert list(found["rows"]) == ["product", "other"]
    assert found["differences"]["product"]["other"]["hr@20"][ALL][0] == pytest.approx(-1 / 6, abs=1e-4)


def test_queries_are_told_apart_by_what_was_known_of_user_and_target(tmp_path):
    rows = [row("u", 1, minutes) for minutes in range(17)] + [row("u", 2, 17), row("u", 1, 18), row("v", 2, 19)]
    ranked = a_ranked({}, "uuv", targets=((2,), (1,), (2,)), at=(17, 18, 19))
    found = splits_of(ranked, a_task(tmp_path, rows))
    assert found["target in the user's history"].tolist() == [False, True, False]
    assert found["user without actions"].tolist() == [False, False, True]
    assert found["target trained often"].tolist() == [False, True, False]


def test_rankers_are_joined_by_query_and_others_refused():
    first, other = a_ranked({"a": [[1], [2], [3]]}), a_ranked({"b": [[4], [5], [6]]})
    turned = other.of(np.array([2, 0, 1]))
    assert [ranks.tolist() for ranks in joined([first, turned]).ranks["b"]] == [[4], [5], [6]]
    with pytest.raises(ValueError, match="b ranked other queries than a"):
        joined([first, other.of(np.array([0, 1]))])


def test_lists_without_a_choice_are_left_out():
    ranked = a_ranked({"a": [[1], [1, 2], []]}, targets=((1,), (2, 3), ()), candidates=2)
    assert ranked.with_choice().queries == ("q0",)


@pytest.fixture
def data(tmp_path):
    """A folder with one log of the table: 20 users save 40 items, in turn."""
    rows = [row(f"u{step % 20}", 1 + step * 7 % 40, step - 600) for step in range(800)]
    write_log(tmp_path / "data.csv", rows)
    return tmp_path


def test_the_command_ranks_beside_the_baselines_and_is_not_run_again(data, tmp_path, monkeypatch):
    trainings = []

    def trained(log, data, until_ms, folder, told=()):
        trainings.append((log.name, until_ms, *told))
        a_user_table(folder / "vectors" / "users", ["u1"])
        a_bundle(folder / "bundle", vocabulary=Task.open(log, data).opened.vocabulary)
        return Product(folder, 1.0, 2.0)

    monkeypatch.setattr(command, "trained", trained)
    monkeypatch.setitem(LOGS, "music30", FeedLog("music30", "a log", "data.csv", ("save",)))
    flags = ["--data", data, "--logs", "music30", "--work", tmp_path / "work", "--results", tmp_path / "results"]
    flags += ["--rivals", "never,vmis-tuned", "--trainings", "2"]
    first, again = (CliRunner().invoke(command.main, [str(flag) for flag in flags]) for _ in range(2))
    assert first.exit_code == again.exit_code == 0, first.output
    assert [told for _, _, *told in trainings] == [[], ["--seed=1"]]
    assert "default is the mean of 2 trainings, seed by seed: HR@20" in first.stdout.replace("\n", " ")
    assert "120 queries of 20 users, all 40 items ranked" in first.stdout.replace("\n", " ")
    written = tables(Runs(tmp_path / "results"))["feed"]
    assert written in first.stdout
    assert all(f"| {name} |" in written for name in ("default", "popularity", "VMIS-kNN", "item-kNN"))
    assert all(f"| {name} |" in written for name in ("default, no realtime actions", "VMIS-kNN, tuned"))
    assert "best of 24 by NDCG@10" in written
    assert "- default (1 s): `rankstream train`, with at most 2 MB of memory." in written


def test_what_a_training_took_is_told_where_it_is_known():
    own, brought = {"seconds": 1234.5, "peak_rss_mb": 2445}, {"seconds": None, "peak_rss_mb": None}
    assert notes({"default": own, "longer": brought}, {"SASRec": {"seconds": 9.6, "note": "stopped"}}) == [
        "- default (1,234 s): `rankstream train`, with at most 2,445 MB of memory.\n- SASRec (10 s): stopped."
    ]
    assert notes({"longer": brought}, {}) == []


def test_what_items_add_is_a_table_of_its_own(data, tmp_path, monkeypatch):
    given = []

    def trained(log, data, until_ms, folder, told=()):
        given.extend(len(Catalogue.open(Path(flag.removeprefix("--items=")))) for flag in told)
        a_user_table(folder / "vectors" / "users", ["u1"])
        a_bundle(folder / "bundle", vocabulary=Task.open(log, data).opened.vocabulary)
        return Product(folder, 1.0, 2.0)

    monkeypatch.setattr(command, "trained", trained)
    monkeypatch.setitem(LOGS, "music30", FeedLog("music30", "a log", "data.csv", ("save",)))
    monkeypatch.setitem(MAKES, "music30", lambda folder: [an_item(n, category="songs") for n in range(1, 41)])
    flags = ["--data", data, "--logs", "taobao,music30", "--work", tmp_path / "work", "--results", tmp_path / "results"]
    done = CliRunner().invoke(command.main, [str(flag) for flag in [*flags, "--rivals", "", "--items"]])
    assert done.exit_code == 0, done.output
    assert given == [40]  # of one log alone: nothing is known of the other's items
    found = tables(Runs(tmp_path / "results"))
    assert list(found) == ["feed-items"]
    assert "| default + --items less it: HR@20 |" in found["feed-items"]
    assert found["feed-items"].index("| default + --items |") < found["feed-items"].index("| default |")


def test_what_users_add_is_a_table_of_its_own(data, tmp_path, monkeypatch):
    given = []

    def trained(log, data, until_ms, folder, told=()):
        given.append(list(told))
        a_user_table(folder / "vectors" / "users", ["u1"])
        a_bundle(folder / "bundle", vocabulary=Task.open(log, data).opened.vocabulary)
        return Product(folder, 1.0, 2.0)

    monkeypatch.setattr(command, "trained", trained)
    monkeypatch.setitem(LOGS, "music30", FeedLog("music30", "a log", "data.csv", ("save",)))
    monkeypatch.setitem(FILES, "music30", UserFile("users.csv", ("who", "age")))
    flags = ["--data", data, "--logs", "taobao,music30", "--work", tmp_path / "work", "--results", tmp_path / "results"]
    done = CliRunner().invoke(command.main, [str(flag) for flag in [*flags, "--rivals", "", "--users"]])
    assert done.exit_code == 0, done.output
    assert given == [[], [f"--users={(data / 'users.csv').resolve()}", "--user-columns=who,age"]]
    found = tables(Runs(tmp_path / "results"))
    assert list(found) == ["feed-users"]
    assert "| default + --users less it: HR@20 |" in found["feed-users"]


def test_a_log_that_is_not_in_the_table_is_refused(tmp_path):
    done = CliRunner().invoke(command.main, ["--data", str(tmp_path), "--logs", "netflix"])
    assert done.exit_code == 2
    assert "netflix is no log of the table" in done.output


def test_a_rival_that_is_not_in_the_table_is_refused(tmp_path):
    done = CliRunner().invoke(command.main, ["--data", str(tmp_path), "--rivals", "never,bert"])
    assert done.exit_code == 2
    assert "--rivals never,bert: bert is no rival of the table; they are never, lightgbm" in done.output
