"""The fuzzer finds what breaks the law, keeps its input, and comes to the same again; what stands keeps the law."""

import os
import subprocess
import sys
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import pytest

from fuzz.law import ROOT, Target, broken_by, same
from fuzz.run import again, drive, drive_apart, inputs_of, kept
from fuzz.targets import TARGETS
from tests.builders.patience import PATIENCE_S


class Refused(Exception):
    """What the decoders here may raise."""


def decoder(data: bytes) -> None:
    """Know some documents, and be wrong about each in another way."""
    if data == b"refuse":
        raise Refused
    if data == b"crash":
        raise KeyError("a field")
    if data == b"hoard":
        same(len(b"x" * (64 << 20)), 64 << 20)
    same(data.strip(), data)


LAWLESS = Target("lawless", [b"a"], decoder, (Refused,))


@pytest.mark.parametrize(
    ("data", "what"),
    [(b"crash", "KeyError"), (b"hoard", "MB"), (b" a", "a round trip made")],
)
def test_what_breaks_the_law_is_found(data: bytes, what: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fuzz.law.MOST_S", 60)
    monkeypatch.setattr("fuzz.law.MOST_MB", 30)
    found = broken_by(LAWLESS, data)
    assert found is not None
    assert what in found.what


SLOW = """
import time
from fuzz import law
law.MOST_S = 0.2
print(law.broken_by(law.Target("slow", [b""], lambda data: time.sleep(9), ()), b"").what)
"""


def test_what_hangs_is_found():
    """In a process of its own: its alarm would be that of the tests' own time limit here."""
    done = subprocess.run([sys.executable, "-c", SLOW], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "takes more than 0.2 s\n", done.stderr


def test_a_declared_refusal_and_a_sound_answer_keep_the_law():
    assert broken_by(LAWLESS, b"refuse") is None
    assert broken_by(LAWLESS, b"a") is None


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pyarrow's, of ragged rows that are no text
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_decoder_takes_its_corpus_and_some_mutations_of_it(target: Target):
    for data in islice(inputs_of(target, seed=1), 40):
        found = broken_by(target, data)
        assert found is None, (found.what, found.where)


def test_a_seed_comes_to_the_same_inputs():
    action = TARGETS["action"]
    one, other, another = (list(islice(inputs_of(action, seed), 50)) for seed in (7, 7, 8))
    assert one == other
    assert one != another


def test_of_one_fault_the_shortest_input_is_kept_and_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def wrong(data: bytes) -> None:
        raise KeyError(len(data))

    monkeypatch.setitem(TARGETS, "lawless", Target("lawless", [b"some bytes"], wrong, ()))
    monkeypatch.setattr("fuzz.run.time", SimpleNamespace(monotonic=count().__next__))  # a second an input
    (found,) = drive(TARGETS["lawless"], seed=1, seconds=100, note=lambda data: None).findings
    assert len(found.data) < 10
    path = kept(found, tmp_path)
    assert path.read_bytes() == found.data
    assert again(path) == found


STUB = """\
import os, sys, types
from fuzz.law import Target
stub = types.ModuleType("fuzz.targets")
kinds = {"one": len, "fatal": lambda data: os._exit(9), "two": len}
stub.TARGETS = {name: Target(name, [name.encode()], decode, ()) for name, decode in kinds.items()}
sys.modules["fuzz.targets"] = stub
"""


def test_an_input_that_ends_the_process_is_found_and_the_other_targets_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sitecustomize.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    one, fatal, two = drive_apart(["one", "fatal", "two"], 1, 0.1, tmp_path / "kept")
    assert (one.findings, two.findings) == ([], [])
    assert min(one.inputs, two.inputs) > 0
    assert fatal.findings[0].data == b"fatal"
    assert "ends the process with 9" in fatal.findings[0].what
