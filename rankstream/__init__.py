"""rankstream: user actions stream in, the ranked feed follows them.

The packages below this one stand at the top of the repository (``streams/``, ``features/``, ...) and are installed as
``rankstream.streams``, ``rankstream.features``, ...; in a checkout this file finds them there.
"""

import os
from pathlib import Path

__version__ = "0.1.0"

_here = Path(__file__).parent
if not (_here / "features").is_dir() and (_here.parent / "pyproject.toml").is_file():  # a checkout, not an installation
    __path__.append(str(_here.parent))

# ONNX Runtime reports processes, models and errors to its makers over the network (since 1.29 in Linux, too), and reads
# this when it is first imported. Who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
