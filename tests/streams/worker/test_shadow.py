"""A worker's part of a shadow: real bundles, the real process beside it, and the command's look at the reports."""

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import pytest

from rankstream.cli import shadow_period
from rankstream.cli.errors import Refusal
from rankstream.cli.shadow_period import ShadowPeriod, refuse_another, shadow_told
from rankstream.features.ids import id_bytes
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import use_bundle
from rankstream.ranking.deployment import SHADOWS, Deployment, make_reports, write_deployment
from rankstream.ranking.experiment import TREATMENT
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.shadow import report
from rankstream.streams.pipeline import Pipeline, wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.worker.open_serving import assignment_of, open_serving
from rankstream.streams.worker.shadow import WAITING, Shadow, Shadows
from tests.builders.actions import a_request, decoded
from tests.builders.bundle import a_bundle
from tests.builders.faulty_bundle import a_failing_bundle, a_slow_bundle
from tests.builders.patience import PATIENCE_S

CANDIDATES = list(range(1, 41))


def a_deployment(**changes: object) -> Deployment:
    fields = {"share": 1.0, "until_ms": wall_clock_ms() + 60_000} | changes
    return Deployment("d1", "new", "old", fields.pop("stage", "shadow"), 0, **fields)


@pytest.fixture(autouse=True)
def enough(monkeypatch):
    """Fewer comparisons than a verdict should be of: this machine may be busy."""
    monkeypatch.setattr(report, "LEAST", 5)


@pytest.fixture
def bundles(tmp_path):
    a_bundle(tmp_path / "old", model_version="old")
    use_bundle(tmp_path, "old")
    return tmp_path


class OneWorker:
    """Answers requests all the while, as a partition of a worker does."""

    def __init__(self, settings: Settings) -> None:
        self.shadow = Shadow(settings)
        serving = open_serving(settings)
        self.pipeline = Pipeline(UserCache(MemoryStore()), serving, sample=self.shadow.sample)
        self.feeds: list[dict] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        while not self.ended.is_set():
            self.shadow.follow()
            requests = [a_request(f"u{len(self.feeds)}", candidates=CANDIDATES)]
            self.feeds += decoded(self.pipeline.on_requests(requests).answer())
            sleep(0.005)
        self.shadow.stop()


@contextmanager
def a_worker(settings: Settings) -> Iterator[OneWorker]:
    worker = OneWorker(settings)
    worker.thread.start()
    try:
        yield worker
    finally:
        worker.ended.set()
        worker.thread.join(PATIENCE_S)
    assert not worker.thread.is_alive()


def shadowed(bundles, minutes: float = 0.03, slower: float = 100.0):
    """Run the period of the command beside a worker; return figures, and the feeds that were answered meanwhile."""
    settings = Settings(bundle=bundles)
    with a_worker(settings) as worker:
        period = ShadowPeriod(bundles, a_deployment(until_ms=0), settings, minutes, members=lambda settings: 1)
        try:
            figures = period.run(slower, min_overlap=0.1)
        finally:
            wrong = [feed for feed in worker.feeds if "error" in feed or feed["model_version"] != "old"]
            assert worker.feeds
            assert not wrong, "a request felt the shadow"
    return figures


def test_an_equal_bundle_orders_every_request_as_before(bundles):
    a_bundle(bundles / "new", model_version="new")
    figures = shadowed(bundles)
    assert figures.workers == 1
    assert figures.compared >= 5
    assert (figures.overlap.low, figures.correlation.low, figures.errors) == (1.0, 1.0, {})
    assert "of the 10 best items 100% are as before" in shadow_told(figures)
    assert not (bundles / SHADOWS).exists()


def test_one_that_is_slow_does_not_serve_and_slows_no_answer(bundles):
    a_slow_bundle(bundles / "new")
    with pytest.raises(Refusal, match=r"it takes \d+\.\d ms for a request, \d+\.\d times as long as the one before"):
        shadowed(bundles, slower=3.0)


def test_one_that_fails_requests_does_not_serve(bundles):
    a_failing_bundle(bundles / "new")
    with pytest.raises(Refusal, match=r"it failed (\d+) of \1 requests that the one before answered \(internal\)"):
        shadowed(bundles)


def test_one_that_ends_the_process_beside_the_worker_does_not_serve(bundles, caplog):
    a_bundle(bundles / "new")
    make_reports(bundles, a_deployment())
    write_deployment(bundles, a_deployment())
    shadow = Shadow(Settings(bundle=bundles))
    shadow.follow()
    os.kill(shadow._pair._process.pid, signal.SIGSEGV)
    shadow._pair._process.wait()
    shadow.follow()
    (found,) = shadow_period.read_reports(a_deployment().reports(bundles))
    assert found.failed == "it ended the process that ranks by it, with signal 11"
    assert shadow.told()["shadow"]["failed"] == found.failed
    assert "this worker goes on as before" in caplog.text
    shadow.stop()


def test_workers_that_say_nothing_are_missed(bundles, monkeypatch):
    monkeypatch.setattr(shadow_period, "PATIENCE_S", 0.2)
    period = ShadowPeriod(bundles, a_deployment(), Settings(bundle=bundles), 1.0, members=lambda settings: 2)
    with pytest.raises(Refusal, match="of 2 workers 0 report how it ranks"):
        period.run(2.0, 0.1)


def test_a_group_without_workers_is_told_at_once(bundles):
    period = ShadowPeriod(bundles, a_deployment(), Settings(bundle=bundles), 1.0, members=lambda settings: 0)
    with pytest.raises(Refusal, match="no worker of the group rankstream is there to rank by new: start one"):
        period.run(2.0, 0.1)


def test_two_deployments_at_once_are_refused(bundles):
    write_deployment(bundles, a_deployment())
    with pytest.raises(Refusal, match="new is in the shadow of old already"):
        refuse_another(bundles)
    write_deployment(bundles, a_deployment(until_ms=wall_clock_ms() - 1))  # its command was killed
    refuse_another(bundles)


def test_what_comes_while_it_is_busy_is_skipped_and_nobody_waits(bundles):
    a_bundle(bundles / "new")
    write_deployment(bundles, a_deployment())
    shadow = Shadow(Settings(bundle=bundles))
    shadow.follow()
    os.kill(shadow._pair._process.pid, signal.SIGSTOP)
    request = RankingRequest("r", "u", candidates=tuple(range(1, 2_001)))  # a pipe holds a few of these
    started = monotonic()
    for _ in range(1_000):
        shadow.sample(request, UNKNOWN_USER, 0)
    assert monotonic() - started < 10, "it waited for a process that stands still"
    counts = shadow.told()["shadow"]
    assert counts["sampled"] == 1_000
    assert counts["skipped"] > 1_000 - 2 * WAITING
    shadow.stop()


def test_only_the_share_is_sampled_and_nothing_outside_of_a_shadow(bundles):
    a_bundle(bundles / "new")
    shadow = Shadow(Settings(bundle=bundles))
    shadow.follow()
    shadow.sample(RankingRequest("r", "u", limit=1), UNKNOWN_USER, 0)
    assert shadow.told() == {"deployment": None, "shadow": None}
    write_deployment(bundles, a_deployment(share=0.1))
    shadow.follow()
    for _ in range(2_000):
        shadow.sample(RankingRequest("r", "u", limit=1), UNKNOWN_USER, 0)
    assert 130 < shadow.told()["shadow"]["sampled"] < 270  # 200, and five times its deviation
    shadow.stop()


def test_requests_of_an_experiments_treatment_are_not_sampled(bundles):
    a_bundle(bundles / "new")
    settings = Settings(bundle=bundles, variant=bundles / "new", variant_share=0.3)
    shadow = Shadow(settings)
    write_deployment(bundles, a_deployment())
    shadow.follow()
    users = range(200)
    for user in users:
        shadow.sample(RankingRequest("r", user, limit=1), UNKNOWN_USER, 0)
    treated = [assignment_of(settings).variant_of(id_bytes(user)) for user in users].count(TREATMENT)
    assert shadow.told()["shadow"]["sampled"] == len(users) - treated < len(users)
    shadow.stop()


@pytest.mark.parametrize("stage", ["refused", "rolled-back"])
def test_the_reason_why_it_does_not_serve_is_in_the_log_and_on_the_page(bundles, stage, caplog):
    shadow = Shadow(Settings(bundle=bundles))
    shadow.follow()
    write_deployment(bundles, a_deployment(stage=stage, reason="none of 10 answers was by it"))
    for _ in range(3):
        shadow.follow()
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert told == [f"deployment of new: {stage}: none of 10 answers was by it"]
    page = json.loads(json.dumps(shadow.told()))
    assert (page["deployment"]["stage"], page["deployment"]["reason"]) == (stage, "none of 10 answers was by it")


def test_a_file_that_nobody_understands_is_told_once_and_stops_nothing(bundles, caplog):
    (bundles / "DEPLOYMENT").write_text("new")
    shadow = Shadow(Settings(bundle=bundles))
    for _ in range(3):
        shadow.follow()
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1


def test_bundles_of_the_treatment_are_compared_on_the_requests_of_its_users_alone(bundles):
    a_bundle(bundles / "new", model_version="new")
    settings = Settings(bundle=bundles / "old", variant=bundles, variant_share=0.3)
    reports = make_reports(bundles, a_deployment())
    write_deployment(bundles, a_deployment())
    shadows, users = Shadows(settings), range(100)
    shadows.follow()
    for user in users:
        shadows.sample(RankingRequest("r", user, candidates=(1, 2, 3)), UNKNOWN_USER, 0)
    treated = [assignment_of(settings).variant_of(id_bytes(user)) for user in users].count(TREATMENT)
    assert 0 < treated < WAITING
    assert shadows.told()["shadow"] is None
    assert shadows.told()["treatment"]["shadow"]["sampled"] == treated
    until = monotonic() + PATIENCE_S
    while [one.compared for one in shadow_period.read_reports(reports)] != [treated] and monotonic() < until:
        sleep(0.2)
        shadows.follow()
    (found,) = shadow_period.read_reports(reports)
    shadows.stop()
    assert (found.compared, found.errors, found.failed) == (treated, {}, None)
