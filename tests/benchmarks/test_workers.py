"""Two workers are compared by what they do once both have joined."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.workers import Said, Worker, rates_between, stopped, wait_until


def test_what_a_start_took_counts_in_no_rate():
    first = [Said(10.0, 100, 3.0, 2), Said(10.0, 0, 2.5, 2)]
    last = [Said(21.0, 700, 3.25, 2), Said(22.0, 300, 2.75, 2)]
    by_clock, of_cpu = rates_between(first, last, begun_s=20.0)
    assert by_clock == 900 / 2.0
    assert of_cpu == 900 / 0.5


def test_workers_that_are_stopped_do_nothing_and_go_on(tmp_path: Path):
    count = f"import itertools; [open({str(tmp_path / 'at')!r}, 'w').write(str(at)) for at in itertools.count()]"
    with subprocess.Popen([sys.executable, "-c", count], text=True) as process:
        one = Worker(process)
        try:
            wait_until((tmp_path / "at").exists, [one], "it has begun")
            with stopped([one]):
                state = Path(f"/proc/{process.pid}/stat")
                if not state.exists():
                    pytest.skip("this system does not say whether a process is stopped")
                wait_until(lambda: state.read_text().rsplit(")", 1)[1].split()[0] == "T", [one], "it is stopped")
            wait_until(lambda: state.read_text().rsplit(")", 1)[1].split()[0] != "T", [one], "it goes on")
        finally:
            process.kill()


def test_waiting_ends_with_a_worker():
    with subprocess.Popen([sys.executable, "-c", ""], text=True) as process:
        process.wait()
        with pytest.raises(SystemExit, match="it has begun: not so"):
            wait_until(lambda: False, [Worker(process)], "it has begun")
