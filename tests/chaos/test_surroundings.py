"""Disks that are full and clocks that jump, as a process that knows nothing of them sees them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.clocks import Clock, can_jump

ROOT = Path(__file__).parents[2]
DISK = """
from pathlib import Path
import errno
from chaos import disks
disks.enter_namespace("full_disk")
if not disks.can_mount():
    raise SystemExit(77)
folder = Path("disk")
disks.SIZE = "2m"
disks.mount(folder)
disks.fill(folder)
try:
    (folder / "one").write_bytes(b"one")
except OSError as exc:
    print(errno.errorcode[exc.errno])
disks.empty(folder)
(folder / "two").write_bytes(b"two")
print((folder / "two").read_bytes().decode())
"""
NOT_HERE = 77


def test_a_full_disk_refuses_to_be_written_to_until_it_is_emptied(tmp_path):
    (tmp_path / "full_disk.py").write_text(DISK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    environment.pop("RANKSTREAM_CHAOS_INSIDE", None)
    command = [sys.executable, "-m", "full_disk"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == NOT_HERE:
        pytest.skip("this machine lets nobody mount")
    assert done.stdout.split() == ["ENOSPC", "two"], done.stderr
    assert not (tmp_path / "disk" / "two").exists(), "the mount is seen from without"


CLOCK = """
import sys, time
for line in sys.stdin:
    print(time.time_ns() // 10**9, int(time.monotonic()), flush=True)
"""


@pytest.mark.skipif(not can_jump(), reason="needs a C compiler, and Linux")
def test_a_clock_that_jumps_takes_the_wall_clock_along_and_no_other(tmp_path):
    clock = Clock(tmp_path, "worker-0")
    environment = {**os.environ, **clock.environment}
    with subprocess.Popen(
        [sys.executable, "-c", CLOCK], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def now() -> tuple[int, int]:
            process.stdin.write("?\n")
            process.stdin.flush()
            wall, monotonic = process.stdout.readline().split()
            return int(wall), int(monotonic)

        before = now()
        clock.jump(7_200)
        ahead = now()
        clock.jump(-7_200)
        behind = now()
        process.stdin.close()
    assert 7_200 <= ahead[0] - before[0] <= 7_205
    assert -7_200 <= behind[0] - before[0] <= -7_195
    assert behind[1] - before[1] <= 5
