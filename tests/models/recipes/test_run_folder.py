import shutil
from pathlib import Path

import pytest

from rankstream.models.recipes.run_folder import load_models
from rankstream.models.training.checkpoints import WeightsRefusedError
from tests.builders.cli import rankstream, refusal

SAVED = Path(__file__).parents[2] / "saved" / "0.1.0" / "run"
DAMAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "a flipped byte": lambda content: content[:200] + bytes([content[200] ^ 255]) + content[201:],
    "empty": lambda content: b"",
    "something else": lambda content: b"[1, 2]\n",
    "no text": lambda content: b"\xff\xfe\x00",
}


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(SAVED, tmp_path / "run")


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["items.npz", "trained.json", "ranker.pt", "hiertcn.pt", "pinnerformer.pt"])
def test_a_damaged_file_is_refused_by_its_name(run, name, how):
    path = run / "work" / name
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(WeightsRefusedError, match=name):
        load_models(run / "work")


def test_export_from_a_damaged_folder_ends_with_one_sentence(run, tmp_path):
    (run / "work" / "items.npz").write_bytes(b"PK")
    words = refusal(rankstream("export", "--from", run, "--to", tmp_path / "bundle"))
    assert words.startswith(f"{run / 'work' / 'items.npz'} is damaged")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_description_of_the_run_ends_the_training_with_one_sentence(run, content):
    shutil.rmtree(run / "bundle")
    (run / "work" / "run.json").write_bytes(content)
    log = SAVED.parent / "log" / "actions.parquet"
    words = refusal(rankstream("train", log, "--out", run, "--positive", "save", "--no-export"))
    assert words.startswith((f"{run / 'work' / 'run.json'} is damaged", f"{run / 'work'} holds a training with other"))
