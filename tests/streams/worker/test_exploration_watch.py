"""A worker whose feeds are nearly random warns once, and says what to set."""

import logging

import pytest

from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.settings import Settings
from rankstream.streams.worker.exploration_watch import ANSWERS, ExplorationWatch
from rankstream.streams.worker.open_serving import open_serving
from tests.builders.actions import MORNING_MS, a_request
from tests.builders.bundle import a_bundle


def warnings_of(folder, caplog, answers=2 * ANSWERS, candidates=range(1, 31), **settings):
    """What a worker with these settings warns of while it answers."""
    chosen = Settings(bundle=a_bundle(folder), **settings)
    watch = ExplorationWatch(chosen)
    pipelines = [
        Pipeline(UserCache(MemoryStore()), open_serving(chosen), lambda: MORNING_MS, observe=watch) for _ in range(2)
    ]
    with caplog.at_level(logging.WARNING):
        for number in range(answers):  # of two partitions, which share the watch
            pipelines[number % 2].on_requests([a_request(request_id=number, candidates=list(candidates))]).answer()
    return [record.message for record in caplog.records]


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (
            {"exploration": "plackett-luce", "exploration_temperature": 30.0},
            "lower --exploration-temperature (30 now, 0.1 explores a little); if it is low, the bundle scores most "
            "candidates of a request alike",
        ),
        ({"exploration": "epsilon-greedy", "exploration_epsilon": 1.0}, "lower --exploration-epsilon (1 now)"),
    ],
)
def test_nearly_random_feeds_are_warned_of_once_with_what_to_set(settings, remedy, tmp_path, caplog):
    (message,) = warnings_of(tmp_path, caplog, **settings)
    assert message.startswith("feeds are nearly random: over the last 100 answers the entropy of the first position is")
    assert message.endswith(f"100 % of that of a random order; {remedy}")


@pytest.mark.parametrize(
    "settings", [{"exploration": "plackett-luce"}, {"exploration": "epsilon-greedy"}, {}], ids=lambda one: str(one)
)
def test_the_defaults_explore_a_little_and_warn_of_nothing(settings, tmp_path, caplog):
    assert warnings_of(tmp_path, caplog, **settings) == []


def test_equal_scores_are_warned_of_at_any_temperature(tmp_path, caplog):
    """Items that the bundle does not know all score alike."""
    unknown = range(1_000, 1_030)
    assert len(warnings_of(tmp_path, caplog, candidates=unknown, exploration="plackett-luce")) == 1


def test_few_answers_and_answers_without_a_choice_say_nothing(tmp_path, caplog):
    hot = {"exploration": "plackett-luce", "exploration_temperature": 30.0}
    assert warnings_of(tmp_path / "few", caplog, answers=ANSWERS - 1, **hot) == []
    assert warnings_of(tmp_path / "one", caplog, candidates=[5], **hot) == []
