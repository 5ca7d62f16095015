"""The process that ranks by both bundles, driven in this one through its frames."""

import io

import pytest

from rankstream.features.user_state import UserState
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.shadow.report import Report, read_reports
from rankstream.streams.settings import Settings
from rankstream.streams.worker.shadow_process import Sampled, ShadowProcess, Task, frame, frames
from tests.builders.actions import a_state, an_action
from tests.builders.bundle import AS_OF_MS, a_bundle
from tests.builders.faulty_bundle import a_failing_bundle


@pytest.fixture
def old(tmp_path):
    return a_bundle(tmp_path / "old")


def found_by(tmp_path, new, requests) -> Report:
    task = Task("w", tmp_path / "old", new, tmp_path / "reports", Settings())
    sent = [Sampled(4, request, state.pack(), AS_OF_MS) for request, state in requests]
    (tmp_path / "reports").mkdir()
    shadow = ShadowProcess(task)
    for packed in frames(io.BytesIO(b"".join(map(frame, sent)))):
        shadow.take(packed)
    shadow.report()
    (report,) = read_reports(tmp_path / "reports")
    return report


def some_requests(count: int, candidates: int = 20) -> list[tuple[RankingRequest, UserState]]:
    state = a_state(an_action(3), an_action(4, at=1))
    return [
        (RankingRequest(f"r{n}", "u1", candidates=tuple(range(n + 1, n + 1 + candidates))), state) for n in range(count)
    ]


def test_an_equal_bundle_orders_each_request_alike(tmp_path, old):
    report = found_by(tmp_path, a_bundle(tmp_path / "new", model_version="new"), some_requests(5))
    assert (report.compared, report.skipped, report.errors) == (5, 4, {})
    assert [(one.overlap, one.correlation) for one in report.samples] == [(1.0, 1.0)] * 5
    assert all(one.new_ms > 0 and one.serving_ms > 0 for one in report.samples)


def test_another_model_orders_them_otherwise(tmp_path, old):
    report = found_by(tmp_path, a_bundle(tmp_path / "new", seed=1), some_requests(5))
    assert all(one.correlation < 1 for one in report.samples)


def test_where_it_fails_requests_these_are_counted_and_the_others_compared(tmp_path, old):
    new = a_failing_bundle(tmp_path / "new")
    report = found_by(tmp_path, new, some_requests(2, candidates=40) + some_requests(3, candidates=50))
    assert (report.compared, report.errors) == (3, {"internal": 2})


def test_one_that_no_worker_would_serve_is_refused(tmp_path, old):
    new = a_bundle(tmp_path / "new")
    (new / "user.onnx").write_bytes(b"cut")
    with pytest.raises(BundleRefusedError, match=r"user.onnx was changed after the export"):
        found_by(tmp_path, new, [])


def test_what_a_killed_worker_wrote_by_half_is_no_message():
    whole = frame(Sampled(1)) + frame(Sampled(2))
    assert len(list(frames(io.BytesIO(whole)))) == 2
    for cut in (1, 5):
        assert len(list(frames(io.BytesIO(whole[:-cut])))) == 1
