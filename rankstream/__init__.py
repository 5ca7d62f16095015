"""rankstream: user actions stream in, the ranked feed follows them.

The packages below this one stand at the top of the repository (``streams/``, ``features/``, ...) and are installed as
``rankstream.streams``, ``rankstream.features``, ...; in a checkout this file finds them there.
"""

from pathlib import Path

__version__ = "0.1.0"

_here = Path(__file__).parent
if not (_here / "features").is_dir() and (_here.parent / "pyproject.toml").is_file():  # a checkout, not an installation
    __path__.append(str(_here.parent))
