from dataclasses import dataclass, field

import pytest

from rankstream.streams.worker.watchdog import EXIT_CODE, LIMIT_S, Watchdog


@dataclass
class Scene:
    """A watchdog whose clock is advanced by hand, and what it ended the process with."""

    now_s: float = 1_000.0
    ended: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watchdog = Watchdog(6.0, self.ended.append, lambda: self.now_s)

    def look_after(self, *waits_s: float) -> list[int]:
        for wait_s in waits_s:
            self.now_s += wait_s
            self.watchdog.look()
        return self.ended


def test_a_worker_that_runs_is_left_alone():
    assert Scene().look_after(*[0.5] * 100, 5.9) == []


def test_the_way_out_has_a_limit(capfd):
    scene = Scene()
    scene.watchdog.leaving("it was asked to end")
    assert scene.look_after(*[LIMIT_S / 10] * 10) == []
    assert scene.look_after(0.1) == [EXIT_CODE]
    assert capfd.readouterr().err == (
        "rankstream ends with exit code 75: it was asked to end, and its orderly end took more than 15 s; what was not "
        "checkpointed is read again\n"
    )


def test_the_limit_is_counted_from_the_first_reason(capfd):
    scene = Scene()
    scene.watchdog.leaving("it met an error")
    scene.look_after(LIMIT_S / 4, LIMIT_S / 4)
    scene.watchdog.leaving("it was asked to end")
    assert scene.look_after(*[LIMIT_S / 4] * 3) == [EXIT_CODE]
    assert "it met an error" in capfd.readouterr().err


@pytest.mark.parametrize("gap_s", [6.1, 3600.0])
def test_one_that_stood_still_for_longer_than_its_session_has_as_long_from_its_waking(gap_s):
    scene = Scene()
    assert scene.look_after(gap_s) == []
    assert scene.watchdog.stood_still_s == pytest.approx(gap_s)
    assert scene.look_after(*[LIMIT_S / 4] * 4) == []
    assert scene.look_after(0.1) == [EXIT_CODE]
