"""Each import contract of pyproject.toml fails when it is broken: one that names modules of yesterday would not."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
ROOMS = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("ROOMS")).split()[2:]

# Contract -> a module, and an import that it must not have.
BREAKS = {
    "Data flows one way": ("features/ids.py", "import rankstream.cli.errors"),
    "Rooms of models know only those below": ("models/users/labels.py", "import rankstream.models.sessions.hiertcn"),
    "Serving never imports torch": ("ranking/utility.py", "import torch"),
    "Serving never imports pyarrow": ("streams/codec.py", "import pyarrow"),
    "Only the compiled engine knows numba": ("streams/columns.py", "import numba"),
    "Only the shell knows Kafka": ("features/history.py", "import aiokafka"),
    "Only the shell knows Prometheus and OpenTelemetry": ("streams/pipeline.py", "import opentelemetry"),
    "Evaluation drives the pipeline, never the shell": ("evaluation/html_page.py", "import rankstream.streams.app"),
}


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    """The packages as they are installed, to be broken."""
    folder = tmp_path_factory.mktemp("contracts")
    shutil.copytree(ROOT / "rankstream", folder / "rankstream")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / "rankstream" / room, ignore=shutil.ignore_patterns("results"))
    return folder


def broken_contracts(folder: Path) -> list[str]:
    command = [Path(sys.executable).parent / "lint-imports", ROOT / "pyproject.toml", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    lines = (re.sub(r" \(\d+ ignored imports?\)$", "", line) for line in done.stdout.splitlines())
    verdicts = [line for line in lines if line.endswith((" KEPT", " BROKEN"))]
    assert len(verdicts) == len(CONTRACTS), done.stdout + done.stderr
    return [line.removesuffix(" BROKEN") for line in verdicts if line.endswith(" BROKEN")]


def test_there_is_a_break_for_each_contract():
    assert set(BREAKS) == {contract["name"] for contract in CONTRACTS}


def test_contracts_hold(laid_out):
    assert broken_contracts(laid_out) == []


@pytest.mark.parametrize("name", list(BREAKS))
def test_a_contract_fails_when_it_is_broken(laid_out, name):
    path, statement = BREAKS[name]
    module = laid_out / "rankstream" / path
    whole = module.read_text()
    module.write_text(f"{whole}\n{statement}\n")
    try:
        assert name in broken_contracts(laid_out)
    finally:
        module.write_text(whole)
