"""Drive the targets in a process of their own, and keep what breaks the law.

What that has in hand lies in a file that outlives it, so an input that ends the process is found, too.
"""

import hashlib
import json
import mmap
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.law import MOST_S, Finding, Target, broken_by
from fuzz.mutations import MAX_BYTES, mutated
from fuzz.targets import TARGETS

GRACE_S = 60.0  # beyond its time, until a process counts as hung: it has to import and to end
LENGTH = 8  # bytes before what is in hand, its length


@dataclass
class Driven:
    """What came of one target."""

    target: str
    inputs: int
    findings: list[Finding]


def inputs_of(target: Target, seed: int) -> Iterator[bytes]:
    """Yield the corpus, then mutations of it without end; the same for a seed."""
    yield from target.corpus
    rng = random.Random(f"{seed} {target.name}")
    while True:
        yield mutated(rng, rng.choice(target.corpus), target.corpus)


def drive(target: Target, seed: int, seconds: float, note: Callable[[bytes], None]) -> Driven:
    """Drive a target here; ``note`` is told of each input before it is decoded."""
    found: dict[str, Finding] = {}
    end = time.monotonic() + seconds
    for count, data in enumerate(inputs_of(target, seed), start=1):
        note(data)
        finding = broken_by(target, data)
        if finding is not None and (finding.where not in found or len(data) < len(found[finding.where].data)):
            found[finding.where] = finding  # of one fault the shortest input
        if time.monotonic() > end:
            return Driven(target.name, count, list(found.values()))
    raise AssertionError("inputs have no end")


def drive_apart(names: Sequence[str], seed: int, seconds: float, folder: Path) -> Iterator[Driven]:
    """Drive targets in another process, for so many seconds each, and yield what comes of them.

    One that ends the process, or hangs in it, is a finding; those behind it are driven in a new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = list(names)
    while left:
        done, how = _driven_until_death(left, seed, seconds, folder)
        yield from done
        left = left[len(done) :]
        if left and how:
            yield Driven(left[0], 0, [Finding(left[0], how, "process", _in_hand_of(left[0], folder))])
            left = left[1:]


def _driven_until_death(names: Sequence[str], seed: int, seconds: float, folder: Path) -> tuple[list[Driven], str]:
    """Return what came of the targets that were done, and how the process ended if not all were."""
    command = [sys.executable, "-m", "fuzz", "--seed", str(seed), "--seconds", str(seconds), "--folder", str(folder)]
    for name in names:
        command += ["--here", name]
    how, limit_s = "hangs, and no signal wakes it", len(names) * (seconds + MOST_S) + GRACE_S
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, told = process.communicate(timeout=limit_s)
            last = told.decode(errors="replace").strip()[-300:]
            how = f"ends the process with {process.returncode}: {last!r}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    return [_driven(json.loads(line)) for line in out.splitlines() if line.endswith(b"}")], how


def _driven(told: dict[str, Any]) -> Driven:
    findings = [Finding(**one | {"data": bytes.fromhex(one["data"])}) for one in told["findings"]]
    return Driven(told["target"], told["inputs"], findings)


def _in_hand_of(name: str, folder: Path) -> bytes:
    """Return the input that a target had when its process ended."""
    raw = (folder / f".{name}").read_bytes() if (folder / f".{name}").exists() else bytes(LENGTH)
    return raw[LENGTH : LENGTH + int.from_bytes(raw[:LENGTH], "little")]


def drive_here(name: str, seed: int, seconds: float, folder: Path) -> str:
    """Drive a target in this process; return what came of it as a line of JSON."""
    with (folder / f".{name}").open("wb+") as file:
        file.truncate(LENGTH + MAX_BYTES)
        with mmap.mmap(file.fileno(), 0) as in_hand:

            def note(data: bytes) -> None:
                in_hand[: LENGTH + len(data)] = len(data).to_bytes(LENGTH, "little") + data

            driven = drive(TARGETS[name], seed, seconds, note)
    (folder / f".{name}").unlink()
    findings = [vars(one) | {"data": one.data.hex()} for one in driven.findings]
    return json.dumps({"target": name, "inputs": driven.inputs, "findings": findings})


def kept(finding: Finding, folder: Path) -> Path:
    """Save a finding's input; its name begins with the target's."""
    path = folder / f"{finding.target}-{hashlib.sha256(finding.data).hexdigest()[:8]}"
    path.write_bytes(finding.data)
    return path


def again(path: Path) -> Finding | None:
    """Drive a saved input once more."""
    return broken_by(TARGETS[path.name.rpartition("-")[0]], path.read_bytes())
