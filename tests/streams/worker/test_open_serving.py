import json

import pytest

from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.ranking.exploration import NO_EXPLORATION, Exploration
from rankstream.ranking.policies import EpsilonGreedy, RelativePlackettLuce
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings
from rankstream.streams.worker.open_serving import exploration_of, open_serving
from tests.builders.actions import MORNING_MS, a_request, an_event
from tests.builders.bundle import a_bundle
from tests.builders.item_counts import publish_some

FEED = [
    "request_id", "user_id", "ranked_at_ms", "items", "model_version", "actions_used", "newest_action_age_ms",
    "user_vector_found", "unknown_items", "timings_ms",
]  # fmt: skip


def feed_of(bundle, **settings):
    """The feed that a pipeline opened with these settings returns, its timings left out."""
    pipeline = Pipeline(UserCache(MemoryStore()), open_serving(Settings(bundle=bundle, **settings)), lambda: MORNING_MS)
    pipeline.on_actions([an_event(item=5, action="save")])
    request = a_request(
        at=60, candidates=list(range(1, 40)), groups=[n % 5 for n in range(39)], max_per_group=3, top_k=9
    )
    (feed,) = pipeline.on_requests([request]).answer()
    return json.loads(feed.value)


@pytest.mark.parametrize(
    ("given", "exploration"),
    [
        ({}, NO_EXPLORATION),
        ({"exploration": "plackett-luce"}, Exploration(RelativePlackettLuce(0.1))),
        ({"exploration": "plackett-luce", "exploration_temperature": 2.0}, Exploration(RelativePlackettLuce(2.0))),
        ({"exploration": "epsilon-greedy", "exploration_seed": 3}, Exploration(EpsilonGreedy(0.1), 3)),
    ],
)
def test_settings_name_the_policy(given, exploration):
    assert exploration_of(Settings(**given)) == exploration


def test_without_exploration_a_feed_holds_no_word_of_it(tmp_path):
    feed = feed_of(a_bundle(tmp_path))
    assert list(feed) == FEED
    assert {tuple(item) for item in feed["items"]} == {("item_id", "score", "probabilities")}


@pytest.mark.parametrize("heads", [(), ("save", "click")])
def test_a_feed_names_the_heads_whose_numbers_are_probabilities(heads, tmp_path):
    feed = feed_of(a_bundle(tmp_path, calibrated=heads))
    assert list(feed) == [*FEED, "calibrated"]
    assert feed["calibrated"] == list(heads)


def test_of_a_bundle_that_does_not_say_a_feed_claims_nothing(tmp_path):
    assert "calibrated" not in feed_of(a_bundle(tmp_path))


@pytest.mark.parametrize("name", ["plackett-luce", "epsilon-greedy"])
def test_with_exploration_the_same_request_gets_the_same_feed_and_another_seed_another(name, tmp_path):
    bundle = a_bundle(tmp_path)
    first, again = (feed_of(bundle, exploration=name, exploration_seed=1) for _ in range(2))
    other = feed_of(bundle, exploration=name, exploration_seed=2)
    assert first | {"timings_ms": {}} == again | {"timings_ms": {}}
    assert first["items"] != other["items"]
    assert all(0 < item["propensity"] <= 1 for item in first["items"])
    assert first["policy"].startswith(name)
    assert first["policy"].endswith("seed=1")
    assert (first["num_candidates"], len(first["items"])) == (39, 9)


def test_settings_name_the_item_counts(tmp_path):
    version = publish_some(tmp_path / "counts", seed=1)
    serving = open_serving(Settings(bundle=a_bundle(tmp_path / "bundle"), item_counts=tmp_path / "counts"))
    assert serving.current.item_counts == version


def test_an_unknown_policy_is_refused_with_those_that_there_are():
    with pytest.raises(SettingsError, match="wanted one of off, plackett-luce, epsilon-greedy"):
        Settings(exploration="softmax")
