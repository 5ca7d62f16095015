"""The command on files as it finds them, and its refusals of those that will not do."""

import json

import msgspec
import pytest

from rankstream.evaluation.off_policy.rerank import RETRIEVED
from rankstream.features.ids import id_bytes
from rankstream.ranking.exploration import Exploration
from rankstream.ranking.policies import Greedy, PlackettLuce
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.topics import ACTIONS, FEEDS, TopicNames
from tests.builders.bundle import a_bundle, a_user_table
from tests.builders.cli import NO_BROKER, connected, fresh_topics, rankstream, refusal
from tests.builders.exploration import Explored, the_explored, with_sources
from tests.builders.served import a_day


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A system that explored, its feeds and its actions in files."""
    world = the_explored()
    return world, *world.write(tmp_path_factory.mktemp("served"))


def off_policy(feeds, actions, *more):
    given = [] if actions is None else ["--actions", actions]
    return rankstream("off-policy", "--feeds", feeds, *given, *(more or ("--reward", "save")))


def test_the_numbers_are_near_to_the_truth(served):
    world, feeds, actions = served
    report = json.loads(off_policy(feeds, actions, "--reward", "save", "--json").stdout)
    value = report["evaluations"][0]["estimates"]["dr"]["value"]
    assert value["low"] < world.value(Greedy(), 1) < value["high"]
    assert (report["feeds"], report["users"], report["skipped"]) == (900, 50, {})
    assert report["verdict"].startswith("the target would earn more")


def test_people_see_values_intervals_and_how_far_to_trust_them(served):
    _, feeds, actions = served
    shown = off_policy(feeds, actions, "--reward", "save", "--positions", 2, "--policy", "plackett-luce").stdout
    for words in ("target by snips", "as served", "effective sample size by position", "900 feeds of 50 users",
                  "target: plackett-luce relative-temperature=0.1 by the scores as served"):  # fmt: skip
        assert words in shown


def test_by_source_each_source_is_told_what_it_is_worth(served, tmp_path):
    world, _, actions = served
    feeds, _ = Explored([with_sources(feed) for feed in world.feeds[:300]]).write(tmp_path)
    asked = off_policy(feeds, actions, "--reward", "save", "--by", "source")
    for words in ("by source, the first position", "interest", "matches", "target without it"):
        assert words in asked.stdout
    report = json.loads(off_policy(feeds, actions, "--reward", "save", "--by", "source", "--json").stdout)
    assert [one["source"] for one in report["by_source"]] == ["matches", "interest"]
    assert set(report["by_source"][0]["worth"]) == {"ips", "snips", "dr"}


def test_by_source_wants_feeds_that_tell_it(served):
    _, feeds, actions = served
    words = refusal(off_policy(feeds, actions, "--reward", "save", "--by", "source"))
    assert "without the sources of its items" in words
    assert "where the request has a limit" in words
    assert "--by source" in refusal(rankstream("off-policy", "--reward", "save", "--by", "source", "--bundle", "b"))


def test_other_weights_of_the_heads_are_another_target(served):
    _, feeds, actions = served
    weighed = off_policy(feeds, actions, "--reward", "save", "--utility", "save=1", "--utility", "hide=-9", "--json")
    assert json.loads(weighed.stdout)["target"] == "greedy by +1 save -9 hide"


def test_actions_of_other_names_are_no_rows_that_are_skipped(served, tmp_path):
    """It looks for few of a log's actions; the others can be read, and are not what --allow-skips is about."""
    _, feeds, actions = served
    others = [msgspec.json.decode(actions.read_bytes().splitlines()[0]) | {"action": "view"}] * 9999
    more = tmp_path / "actions.jsonl"
    more.write_bytes(actions.read_bytes() + b"".join(msgspec.json.encode(one) + b"\n" for one in others))
    plain, padded = (off_policy(feeds, path, "--reward", "save", "--json") for path in (actions, more))
    assert padded.stdout == plain.stdout
    assert "skipped" not in padded.stderr


def test_an_action_that_counts_more_raises_the_value_of_a_feed(served):
    _, feeds, actions = served
    single, double = (
        json.loads(off_policy(feeds, actions, "--reward", text, "--json").stdout)["evaluations"][0]["served"]["value"]
        for text in ("save", "save=2")
    )
    assert double == pytest.approx(2 * single)


def changed(feeds, folder, **fields):
    """The feeds with other fields."""
    path = folder / "changed.jsonl"
    lines = [msgspec.json.decode(line) | fields for line in feeds.read_bytes().splitlines()]
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path


def test_feeds_without_exploration_are_refused_with_the_remedy(served, tmp_path):
    _, feeds, actions = served
    lines = [msgspec.json.decode(line) for line in feeds.read_bytes().splitlines()]
    for line in lines:
        del line["policy"]
    path = tmp_path / "plain.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    words = refusal(off_policy(path, actions))
    assert words.startswith("none of the 900 feeds can be evaluated, 900 for being served without exploration")
    assert words.endswith("start workers with --exploration plackett-luce")


def test_feeds_that_were_cut_are_refused_with_the_remedy(served, tmp_path):
    _, feeds, actions = served
    assert "ask without top_k" in refusal(off_policy(changed(feeds, tmp_path, num_candidates=50), actions))


def test_what_can_be_evaluated_is_evaluated_and_the_rest_is_counted(served, tmp_path):
    _, feeds, actions = served
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"{nonsense\n\n" + feeds.read_bytes() + feeds.read_bytes().splitlines()[0])
    shown = off_policy(path, actions).stdout
    assert "1 feeds were left out: not a ranked-feed" in shown
    assert "1 feeds were left out: an answer that came twice" in shown


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--reward", "save=much"), "--reward save is 'much'; wanted a number"),
        (("--reward", "save=0"), "--reward save=0 counts for nothing"),
        (("--reward", "dance"), "has no action named dance, only save; name others with --reward"),
        (("--reward", "save", "--within", "soon"), "--within: 'soon' is no delay; write 0s, 30s"),
        (("--reward", "save", "--within", "never"), "--within is never; wanted a time after the feed"),
        (("--reward", "save", "--within", "1ms"), "showed got a save within 1ms in"),
        (("--reward", "save", "--utility", "save"), "--utility save has no ="),
        (("--reward", "save", "--utility", "save=x"), "--utility save is 'x'; wanted a number"),
        (("--reward", "save", "--utility", "like=1"), "name heads that the feeds have"),
        (("--reward", "save", "--map", "like=1"), "like is no field of an action"),
        (("--policy", "greedy"), "Missing option '--reward'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(served, more, words):
    _, feeds, actions = served
    assert words in refusal(off_policy(feeds, actions, *more))


@pytest.fixture(scope="module")
def dumped(tmp_path_factory):
    """What a system with exploration and --served-features left in its topics, and its bundle."""
    folder = tmp_path_factory.mktemp("dumped")
    serving = LiveRanker.open(a_bundle(folder / "bundle"), exploration=Exploration(PlackettLuce(2.0)))
    return a_day(folder, actions=900, requests_every=4, serving=serving).dump(folder / "topics"), folder / "bundle"


def test_another_model_is_evaluated_from_the_topics(dumped, tmp_path):
    topics, bundle = dumped
    new = a_bundle(tmp_path / "new", model_version="tiny-2", seed=1)
    counted = ("--reward", "save", "--within", "1d", "--history-limit", 20)
    for given, target in ((bundle, "model tiny-1, greedy by the scores"), (new, "model tiny-2, greedy by the scores")):
        report = json.loads(rankstream("off-policy", "--from", topics, "--bundle", given, *counted, "--json").stdout)
        assert report["target"] == target
        assert report["feeds"] > 100
        assert set(report["skipped"]) == {RETRIEVED}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--bundle", "nowhere"), "there is no bundle folder nowhere"),
        (("--allow-leak",), "are about a --bundle; name it"),
        (("--user-vectors", "vectors"), "are about a --bundle; name it"),
        (("--from", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_what_a_bundle_needs_is_named(more, words):
    assert words in refusal(rankstream("off-policy", "--reward", "save", *more))


def test_feeds_and_a_bundle_do_not_go_together(dumped, served):
    assert "leave it out" in refusal(off_policy(served[1], None, "--bundle", dumped[1], "--reward", "save"))


def test_vectors_of_another_space_are_refused(dumped, tmp_path):
    topics, bundle = dumped
    users = a_user_table(tmp_path / "users", ["u1"], space="other")
    given = ("--from", topics, "--bundle", bundle, "--user-vectors", users)
    words = refusal(rankstream("off-policy", *given, "--reward", "save"))
    assert "are of the space 'other' and 8 wide" in words


def test_files_that_are_not_there(served, tmp_path):
    _, feeds, actions = served
    assert "write one with `rankstream watch" in refusal(off_policy(tmp_path / "none.jsonl", actions))
    assert refusal(off_policy(feeds, tmp_path / "none.jsonl")).startswith("there is no file")
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert refusal(off_policy(empty, actions)).startswith("there are no feeds to evaluate; serve with --exploration")
    assert "name the file" in refusal(off_policy(feeds, None, "--reward", "save", "--set", "action=save"))


def test_without_files_the_topics_are_read(monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 300)
    words = refusal(rankstream("off-policy", "--reward", "save", "--bootstrap-servers", NO_BROKER))
    assert words.startswith(f"no Kafka broker answers at {NO_BROKER}")


@pytest.mark.broker
def test_topics_report_what_files_report(served, bootstrap_servers):
    world, *files = served
    settings = fresh_topics(bootstrap_servers)
    feeds, actions = (TopicNames(settings.topic_prefix).of(topic) for topic in (FEEDS, ACTIONS))
    with RawProducer(settings, [feeds, actions]) as producer:
        for topic, values in ((feeds, world.feeds), (actions, world.actions)):
            for value in values:
                producer.send(topic, id_bytes(value.user_id), msgspec.json.encode(value))
    of_topics = rankstream("off-policy", "--reward", "save", "--json", *connected(settings))
    values, of_files = (
        json.loads(result.stdout)["evaluations"][0]["estimates"]["dr"]["value"]
        for result in (of_topics, off_policy(*files, "--reward", "save", "--json"))
    )
    assert values["value"] == pytest.approx(of_files["value"], rel=1e-9)
