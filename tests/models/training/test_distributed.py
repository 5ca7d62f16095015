"""Two processes train as one does, also when one of them is killed on the way."""

import sys

import pytest
import torch

from rankstream.models.training.distributed import Team, joined_team, launch, team
from rankstream.models.training.loop import LAST, fit
from tests.builders.training import a_model, drawing, evaluating
from tests.models.training.team_member import CONFIG, EXAMPLES


def two_processes(folder, dies_at=-1) -> int:
    return launch(2, [sys.executable, "-m", "tests.models.training.team_member", str(folder), str(dies_at)])


@pytest.mark.slow
def test_two_processes_one_of_them_killed_on_the_way_end_where_one_process_ends(tmp_path):
    one = a_model()
    wanted = fit(one, drawing(one), CONFIG, evaluate=evaluating(one), examples=EXAMPLES)
    assert wanted.steps == 30
    assert two_processes(tmp_path, dies_at=17) != 0
    assert (tmp_path / "checkpoints" / LAST).exists()
    assert two_processes(tmp_path) == 0
    for rank in (0, 1):
        weights, metrics = torch.load(tmp_path / f"end-{rank}.pt")
        for name, tensor in one.state_dict().items():
            assert torch.allclose(weights[name], tensor, atol=1e-6), (rank, name)
        assert [metric for _, metric in metrics] == pytest.approx([metric for _, metric in wanted.metrics], abs=1e-5)


def test_accumulation_steps_that_processes_cannot_share_are_refused(monkeypatch):
    monkeypatch.setattr("rankstream.models.training.loop.team", lambda: Team(0, 4))
    with pytest.raises(ValueError, match="2 accumulation steps for 4 processes; wanted a multiple"):
        fit(a_model(), drawing(a_model()), CONFIG, examples=EXAMPLES)


def test_alone_everything_is_ones_own():
    with joined_team({}) as alone:
        assert alone == team() == Team(0, 1)
        assert alone.writes
        assert alone.share("mine") == "mine"
        assert alone.mean(3.0) == 3.0
