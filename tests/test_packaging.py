"""What is built and installed: the wheel and the sdist, and the commands in a folder with names like ours."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.builders.bundle import a_bundle
from tests.builders.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = sorted(PROJECT["tool"]["setuptools"]["package-dir"].values())
# Names that a user's project may have, and that rankstream's rooms have too.
NAMESAKES = ("models", "features", "streams", "ranking", "events", "metrics", "cli", "retrieval", "evaluation")
# Kernels may have to be compiled, which takes 20 s of CPU, and no command here applies actions.
PLAIN = {"RANKSTREAM_ENGINE": "plain"}
NAMESAKE = "raise RuntimeError(f'{__file__} was imported by rankstream')"


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the sdist of a copy of the tree, and the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in [*ROOMS, "docs", "examples", "tests"]:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "saved"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    backend = "from setuptools import build_meta; build_meta.build_sdist('..')"
    made = run(sys.executable, "-c", backend, cwd=source)
    assert made.returncode == 0, made.stderr
    (sdist,) = folder.glob("*.tar.gz")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    made = run(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, sdist, cwd=folder)
    assert made.returncode == 0, made.stderr
    (folder / "said").write_text(made.stdout + made.stderr)
    return folder


def modules_of_the_tree() -> set[str]:
    """Every module of the installed rooms, by its path in the wheel."""
    paths = (path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return {path.as_posix() if path.parts[0] == "rankstream" else f"rankstream/{path.as_posix()}" for path in paths}


def pages_of_the_tree() -> set[str]:
    """Every file of the live page, by its path in the wheel."""
    return {f"rankstream/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "web" / "static").iterdir()}


def test_the_wheel_holds_every_module_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == modules_of_the_tree() | pages_of_the_tree() | {"rankstream/py.typed"}


def test_no_folder_of_pages_is_taken_for_a_package_that_was_forgotten(built):
    """As setuptools did, in forty lines that `make setup` printed."""
    assert "absent from the `packages` configuration" not in (built / "said").read_text()


def test_the_sdist_holds_docs_and_examples_and_no_tests(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"docs/architecture.md", "examples/produce.py", "CHANGELOG.md", "LICENSE", "README.md"} <= names
    assert not {name for name in names if name.startswith("tests") or "/test" in name}


def test_the_metadata_is_complete(built):
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    metadata = archive.read(name).decode()
    for line in ("Name: rankstream", "Author: rankstream maintainers", "License-Expression: Apache-2.0"):
        assert line in metadata.splitlines()


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A fresh environment with the wheel in it; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    (wheel,) = built.glob("*.whl")
    made = run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=built)
    assert made.returncode == 0, made.stderr
    python = folder / "bin" / "python"
    options = ("--quiet", "--no-deps", "--no-index")
    made = run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=built)
    assert made.returncode == 0, made.stderr
    packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=built).stdout.strip()
    )
    (packages / "dependencies.pth").write_text(
        sysconfig.get_path("purelib")
    )  # after the wheel, and no .pth of it is read
    return folder / "bin"


@pytest.fixture
def hostile(tmp_path):
    """A folder with a bundle, and with modules and packages named as ours are; each raises where it is imported."""
    for name in NAMESAKES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(NAMESAKE)
    for name in ("streams", "ranking"):
        shutil.rmtree(tmp_path / name)
        (tmp_path / f"{name}.py").write_text(NAMESAKE)
    a_bundle(tmp_path / "bundle")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "rankstream --help",
        "rankstream worker --help",
        "rankstream live --help",  # which reads the files of the page
        "rankstream bundle verify bundle",
        "python -m rankstream.cli.main --version",
        "python -m faust -A rankstream.streams.app --help",
    ],
)
def test_commands_run_beside_namesakes(installed, hostile, command):
    program, *arguments = command.split()
    done = run(installed / program, *arguments, cwd=hostile, PYTHONPATH=".", **PLAIN)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Usage|tiny-1|rankstream \d", done.stdout)


def test_faust_without_a_bundle_ends_with_one_sentence(installed, hostile):
    shutil.rmtree(hostile / "bundle")
    done = run(installed / "python", "-m", "faust", "-A", "rankstream.streams.app", "worker", cwd=hostile, **PLAIN)
    assert done.returncode == 2
    assert done.stderr.startswith("rankstream: bundle/manifest.json can't be read")
    assert len(done.stderr.splitlines()) == 1


def test_what_is_installed_is_the_wheel_and_not_the_checkout(installed, tmp_path):
    script = "import rankstream.features.join as join; print(join.__file__)"
    done = run(installed / "python", "-c", script, cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(installed.parent)
