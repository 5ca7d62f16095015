"""A process is kept on a core with all of its threads."""

import os
import subprocess
import sys

import pytest

from benchmarks.cores import pin

HAS_THREADS = """
import threading
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("they run", flush=True)
input()
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no process on a core")
def test_threads_that_a_process_has_already_are_kept_on_the_core_too():
    core = min(os.sched_getaffinity(0))
    with subprocess.Popen(
        [sys.executable, "-c", HAS_THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pin(process.pid, core)
        threads = os.listdir(f"/proc/{process.pid}/task")
        found = [os.sched_getaffinity(int(thread)) for thread in threads]
        process.kill()
    assert found == [{core}] * 4
