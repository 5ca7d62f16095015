from dataclasses import dataclass

import numpy as np
import pytest

from rankstream.experiments.runs import Runs


@dataclass(frozen=True)
class Settings:
    steps: int = 3
    widths: tuple[int, ...] = (4, 2)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "results", tmp_path / "work")


def never(config, folder):
    raise AssertionError("this run was done already")


def test_a_run_is_made_once_and_kept(runs):
    first = runs.run("table/row", Settings(), lambda config, folder: {"hit": np.float32(0.25), "steps": config.steps})
    assert first["metrics"] == {"hit": 0.25, "steps": 3}
    assert runs.run("table/row", Settings(), never) == first == runs.results_of("table")[0]
    assert first["seconds"] >= 0
    assert first["peak_rss_mb"] > 0
    assert first["versions"]["numpy"] == np.__version__


def test_a_run_with_other_settings_is_another_run(runs):
    runs.run("table/row", Settings(), lambda config, folder: {"hit": 0.25})
    again = runs.run("table/row", Settings(steps=4), lambda config, folder: {"hit": 0.5})
    assert (again["metrics"], again["config"]["steps"]) == ({"hit": 0.5}, 4)


def test_a_run_that_was_killed_finds_what_it_left_and_counts_all_its_time(runs):
    def killed(config, folder):
        (folder / "half").write_text("done")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run("table/row", Settings(), killed)
    assert runs.result("table/row") is None
    (seconds,) = runs.work.rglob("seconds.json")
    seconds.write_text('{"seconds": 100.0, "peak_rss_mb": 1e6}')
    ended = runs.run("table/row", Settings(), lambda config, folder: {"found": (folder / "half").read_text()})
    assert ended["metrics"] == {"found": "done"}
    assert ended["seconds"] >= 100
    assert ended["peak_rss_mb"] == 1e6


def test_a_result_names_functions_of_its_config(runs):
    @dataclass(frozen=True)
    class Chosen:
        loss: object = np.mean

    assert runs.run("table/row", Chosen(), lambda config, folder: {})["config"] == {"loss": "numpy.mean"}
