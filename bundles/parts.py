"""The parts of a bundle: what the manifest lists of each, and what an exporter hands to the writer.

Each trained model makes one part and each table one; a part names what it makes (its kind), by which a worker finds how
to open it::

    models/sessions/hiertcn_export.py  ->  BundlePart  ->  bundles/writer.py  ->  bundle/  ->  ranking/bundle.py
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rankstream.bundles.golden import Golden


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the manifest lists of a part; all that its opener knows of it."""

    kind: str  # what it makes, once in a bundle; how to open it is found by this
    model: str = ""  # what made it, for people
    files: tuple[str, ...] = ()  # that opening it needs, as the manifest names them
    sizes: dict[str, int] = {}  # widths that it shares with other parts, by the names of ``FeatureSizes``
    facts: dict[str, Any] = {}  # what only this kind's opener reads
    optional: bool = False  # may a worker that does not know this kind serve without it?


@dataclass(frozen=True)
class Written:
    """What writing a part returns."""

    golden: Golden = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)  # how near the graphs are to the model, for people


@dataclass(frozen=True)
class BundlePart:
    """A part to be written: cheap to make, so all parts are checked against each other before one is exported."""

    part: Part
    write: Callable[[Path], Written]  # into a bundle's folder; raises ``ExportError`` if it can't be verified


class ExportError(ValueError):
    """A model that can't be exported, or whose graphs don't do what it does; the message names which, and the error."""
