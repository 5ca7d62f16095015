"""Small disks for the workers' folders, and filling them: memory that is mounted in a namespace of this process alone.

A limit on the size of files would need no mount, but brings another error (EFBIG) than a full disk does (ENOSPC), which
RocksDB treats apart. Mounting needs root, or a kernel that lets anybody have a namespace of their own; where neither is
so, disks are left out of the plan.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SIZE = "512m"  # of a disk; memory is only taken for what is written
INSIDE = "RANKSTREAM_CHAOS_INSIDE"  # the variable that says so
BALLAST = "ballast"
STEP_BYTES = 1 << 20


def enter_namespace(module: str) -> None:
    """Start this process again in a mount namespace of its own, if the machine lets it; else return."""
    if os.environ.get(INSIDE):
        return
    command = ["unshare", *(["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"])]
    probe = [*command, "sh", "-c", 'd=$(mktemp -d) && mount -t tmpfs -o size=1m tmpfs "$d"']
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        return
    os.environ[INSIDE] = "1"
    os.execvp(command[0], [*command, sys.executable, "-m", module, *sys.argv[1:]])


def can_mount() -> bool:
    """Return whether this process is in a namespace where it may mount."""
    return bool(os.environ.get(INSIDE))


def mount(folder: Path) -> None:
    """Make a folder a disk of its own, until the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Take all that is free of the disk that the folder is."""
    with (folder / BALLAST).open("ab", buffering=0) as file:
        step = STEP_BYTES
        while step:
            try:
                file.write(b"\0" * step)
            except OSError:
                step //= 2


def empty(folder: Path) -> None:
    """Give back what was taken."""
    (folder / BALLAST).unlink(missing_ok=True)
