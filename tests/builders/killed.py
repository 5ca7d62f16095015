"""A writer in a process of its own that is killed at one of its steps."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

DIE_AT = """
import os, pathlib, sys
from rankstream.features import files
from rankstream.features.embeddings import files as table_files

step, calls, root = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])

def arm():
    owners = [one for one in (pathlib.Path, files, table_files) if hasattr(one, step)]
    whole = getattr(owners[0], step)

    def die_at_last(*arguments):
        global calls
        calls -= 1
        if calls < 0:
            os._exit(9)
        return whole(*arguments)

    for owner in owners:
        setattr(owner, step, die_at_last)

"""


def killed_at(step: str, calls: int, root: Path, writer: str) -> int:
    """Run a writer, Python that knows ``root`` and calls ``arm()``; it dies at a call of ``step``. Return its code.

    ``step`` is a function of ``features.files`` or ``features.embeddings.files``, or a method of a path; ``calls`` is
    how many of its calls are survived. The code is 9 where the step was reached.
    """
    command = [sys.executable, "-c", DIE_AT + writer, step, str(calls), str(root)]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False).returncode
