"""One process of the teams of ``test_distributed.py``:

python -m tests.models.training.team_member FOLDER DRAW_TO_DIE_AT
"""

import os
import signal
import sys
from pathlib import Path

import torch

from rankstream.models.training.distributed import joined_team
from rankstream.models.training.loop import FitConfig, fit
from rankstream.models.training.schedule import Examples
from tests.builders.training import a_model, drawing, evaluating

CONFIG = FitConfig(epochs=3, warm_up=5, evaluate_every=5, checkpoint_every=10, accumulation_steps=2)
EXAMPLES = Examples(count=40, per_batch=2)  # an epoch is 10 steps


def main(folder: Path, dies_at: int) -> None:
    torch.set_num_threads(1)
    with joined_team() as team:
        model = a_model(seed=team.rank)  # the first one's weights are everybody's
        die = (lambda: os.kill(os.getpid(), signal.SIGKILL)) if team.rank == 1 else None
        draw = drawing(model, dies_at if die else None, die)
        history = fit(
            model, draw, CONFIG, evaluate=evaluating(model), examples=EXAMPLES, checkpoints=folder / "checkpoints"
        )
        torch.save((model.state_dict(), history.metrics), folder / f"end-{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
