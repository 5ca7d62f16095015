"""Nothing that rankstream brings reports to its makers over the network, unless who runs it wants that."""

import os
import subprocess
import sys
from pathlib import Path

LOADS_A_GRAPH = "import rankstream.bundles.graphs, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"


def loaded(home: Path, **variables: str) -> str:
    """Return what a process prints that loads ONNX Runtime as a user's does whose home is this folder."""
    ours = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    ours = {name: value for name, value in ours.items() if not name.startswith(("XDG_", "PYTEST_", "GITHUB_"))}
    done = subprocess.run(
        [sys.executable, "-c", LOADS_A_GRAPH],
        capture_output=True,
        text=True,
        check=True,
        env=ours | {"HOME": str(home)} | variables,
    )
    return done.stdout.strip()


def test_onnx_runtime_keeps_no_record_of_who_runs_it_and_sends_none(tmp_path):
    """Since 1.29 it notes each process under the user's home and sends that to its makers, in Linux too."""
    assert loaded(tmp_path) == "1"
    assert not list(tmp_path.rglob("*onnxruntime*"))


def test_who_wants_it_may_have_it(tmp_path):
    assert loaded(tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"
