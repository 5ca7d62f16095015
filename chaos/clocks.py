"""A wall clock for each worker that can be set while it runs: a library before the system's own, made by ``cc``.

The product has no hook for it. Where there is no C compiler, or no Linux, clocks are left out of the plan.
"""

import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
OFFSET = struct.Struct("=q")  # seconds


def can_jump() -> bool:
    """Return whether clocks can be moved here."""
    return sys.platform == "linux" and shutil.which("cc") is not None


class Clock:
    """The wall clock of one worker after the other; it goes with the machine's until it is set."""

    def __init__(self, folder: Path, name: str) -> None:
        self._library, self._offset = folder / "clock.so", folder / f"{name}.clock"
        if not self._library.exists():
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE, "-ldl"], check=True)
        self._offset.write_bytes(OFFSET.pack(0))

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to go by this clock."""
        return {"LD_PRELOAD": str(self._library), "RANKSTREAM_CHAOS_CLOCK": str(self._offset)}

    def jump(self, seconds: int) -> None:
        """Be so far from the machine's clock from now on."""
        with self._offset.open("r+b") as file:  # in place: processes have mapped it
            file.write(OFFSET.pack(seconds))
