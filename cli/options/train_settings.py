"""Every setting of training once; ``streams/setting_fields.py`` looks their values up.

A flag (``--user-layers 2``), the environment (``RANKSTREAM_TRAIN_USER_LAYERS=2``), a file (``user_layers = 2`` under
``[train]`` in ``rankstream.toml``), else the one of ``--size``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path

from rankstream.streams.setting_fields import Origins, check_value, find_values, setting

TABLE = "train"


class TrainSection(Enum):
    """What a setting of training is about."""

    SIZES = "Training: sizes"
    COURSE = "Training: course"
    MACHINE = "Training: machine"


SIZES, COURSE, MACHINE = TrainSection


@dataclass(frozen=True)
class TrainSettings:
    """How large the models are and how they are trained; None is the value of ``size``."""

    size: str = setting(
        "demo",
        SIZES,
        "Sizes and steps that are not set one by one: demo takes minutes on one core for 100,000 actions, paper is as "
        "published and needs a GPU.",
        choices=("demo", "paper"),
    )
    item_dim: int | None = setting(None, SIZES, "Width of item vectors.", minimum=2, maximum=4096)
    user_dim: int | None = setting(None, SIZES, "Width of user vectors.", minimum=1, maximum=4096)
    user_width: int | None = setting(None, SIZES, "Width of PinnerFormer's layers.", minimum=4, maximum=8192)
    user_layers: int | None = setting(None, SIZES, "PinnerFormer's layers.", minimum=1, maximum=64)
    user_actions: int | None = setting(None, SIZES, "Newest actions behind a user vector.", minimum=1, maximum=4096)
    session_width: int | None = setting(None, SIZES, "Width of HierTCN's layers.", minimum=1, maximum=4096)
    session_state: int | None = setting(
        None, SIZES, "Width of HierTCN's recurrent state, which every user's record keeps.", minimum=1, maximum=4096
    )
    num_actions: int | None = setting(
        None,
        SIZES,
        "Newest actions that the ranker sees; workers' history_limit must hold them.",
        minimum=1,
        maximum=255,
    )
    layers: int | None = setting(None, SIZES, "TransAct's layers.", minimum=1, maximum=64)
    width: int | None = setting(None, SIZES, "Width of the ranker's MLP; its second layer has half.", minimum=2)
    epochs: float | None = setting(
        None,
        COURSE,
        "Passes of each model over what it learns from, at most; a training ends before when its validation stalls.",
        minimum=0.001,
    )
    user_steps: int | None = setting(
        None, COURSE, "Steps of PinnerFormer, a fixed number instead of epochs.", minimum=1
    )
    session_steps: int | None = setting(None, COURSE, "Steps of HierTCN, likewise.", minimum=1)
    ranker_steps: int | None = setting(None, COURSE, "Steps of the ranker, likewise.", minimum=1)
    batch: int | None = setting(None, COURSE, "Users, or requests of the ranker, in a batch.", minimum=1)
    learning_rate: float | None = setting(
        None, COURSE, "Of all models, at the end of the warm-up.", minimum=1e-8, maximum=1
    )
    evaluate_every: int | None = setting(
        None,
        COURSE,
        "Steps between evaluations and lines of the log, at most: an epoch has a few.",
        unit="steps",
        minimum=1,
    )
    patience: int | None = setting(
        None, COURSE, "Evaluations without a better metric before a model's training ends.", minimum=1
    )
    accumulation_steps: int = setting(
        0,
        COURSE,
        "Batches whose gradients are averaged into one step, over all processes: a multiple of processes; 0 is one a "
        "process. Set it where any number of processes must train the same model.",
        minimum=0,
        formerly=("draws",),
    )
    beside_lists: int = setting(
        0,
        COURSE,
        "Shown lists, at most, beside which items that were not shown are drawn, where a log says what was shown. 0 "
        "learns from lists alone, and orders lists best; 16000 is for workers that find candidates themselves.",
        minimum=0,
    )
    seed: int = setting(0, COURSE, "Seeds every random generator.", minimum=0)
    minutes: float | None = setting(
        None,
        COURSE,
        "End within about so long, whatever the log's size: each encoder has a quarter of it at most, and one that was "
        "still improving says so. Without it models of size demo have 3.5 minutes each at most, the ranker 5: on a CPU "
        "minutes of work: what else a machine does makes no poorer model. A model with a fixed number of steps is "
        "interrupted, and the same command goes on.",
        unit="minutes",
        minimum=0,
    )
    processes: int = setting(
        1, MACHINE, "Train in so many processes on this machine, one a GPU; over machines, use torchrun.", minimum=1
    )
    device: str = setting("auto", MACHINE, "Where to train.", choices=("auto", "cpu", "cuda"))
    precision: str = setting(
        "auto",
        MACHINE,
        "What matrix products are computed in; auto is bf16 or fp16 on a GPU, full on a CPU.",
        choices=("auto", "full", "bf16", "fp16"),
    )
    compiled: bool = setting(
        False, MACHINE, "Compile repeated blocks with torch.compile: for long trainings on a GPU; slower on a CPU."
    )
    threads: int = setting(
        1, MACHINE, "Threads of torch, in each process; a second one slows small models down.", minimum=1
    )

    def __post_init__(self) -> None:
        for known in fields(self):
            if getattr(self, known.name) is not None:
                check_value(known, getattr(self, known.name), known.name)


def read_train_settings(
    flags: Mapping[str, object] | None = None, file: Path | None = None, environment: Mapping[str, str] | None = None
) -> TrainSettings:
    """Read all settings of training. Raises ``SettingsError``, which names the source of the value that is wrong."""
    return read_train_origins(flags, file, environment).settings


def read_train_origins(
    flags: Mapping[str, object] | None = None, file: Path | None = None, environment: Mapping[str, str] | None = None
) -> Origins[TrainSettings]:
    """Read all settings of training, with their sources."""
    return find_values(TrainSettings, flags, environment, file, table=TABLE)
