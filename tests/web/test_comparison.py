"""What stands beside a visitor's feed, in an experiment: ranked by the model that the visitor has."""

from collections.abc import Iterator

import msgspec
import pytest

from rankstream.ranking.experiment import CONTROL, TREATMENT, Experiment
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.settings import Settings
from rankstream.streams.worker.open_serving import open_serving
from rankstream.web.comparison import Comparer
from rankstream.web.reasons import Explainer
from rankstream.web.visit import AskedWhy, Did, Replica, StaleVisit
from tests.builders.actions import MORNING_MS
from tests.builders.bundle import a_bundle

HOUR_MS = 3_600_000
ACTIONS = tuple(Did(item, "save", MORNING_MS + item * HOUR_MS) for item in range(1, 9))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("experiment")
    control, variant = a_bundle(folder / "control"), a_bundle(folder / "variant", model_version="new", seed=5)
    serving = open_serving(Settings(bundle=control, variant=variant))
    assert isinstance(serving, Experiment)
    return serving


def visitors(experiment: Experiment) -> Iterator[tuple[str, LiveRanker]]:
    for side, serving in ((CONTROL, experiment.control), (TREATMENT, experiment.treatment)):
        yield next(v for v in map(str, range(100)) if experiment.assignment.variant_of(v.encode()) == side), serving


def replica(serving: LiveRanker | Experiment) -> Replica:
    return Replica(serving, history_limit=4)  # so short that sessions leave it and are folded


def test_the_feeds_beside_are_of_the_visitors_model(experiment: Experiment):
    for visitor, alone in visitors(experiment):
        visit = StaleVisit(
            user_id=visitor, request_id="r", timestamp_ms=MORNING_MS + 10 * HOUR_MS, limit=50, top_k=20,
            actions=ACTIONS, older_than_ms=3 * HOUR_MS,
        )  # fmt: skip
        found, wanted = (Comparer(replica(one)).compare(visit) for one in (experiment, alone))
        for mixed, single in ((found.frozen, wanted.frozen), (found.stale, wanted.stale)):
            assert msgspec.json.decode(mixed)["items"] == msgspec.json.decode(single)["items"]


def test_the_reasons_are_those_of_the_visitors_model(experiment: Experiment):
    for visitor, alone in visitors(experiment):
        asked = AskedWhy(
            user_id=visitor, request_id="r", timestamp_ms=MORNING_MS + 10 * HOUR_MS, limit=200, top_k=20,
            actions=ACTIONS, item_id=9,
        )  # fmt: skip
        assert Explainer(experiment, replica(experiment)).explain(asked) == Explainer(alone, replica(alone)).explain(
            asked
        )
