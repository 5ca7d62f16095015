"""A list of parts becomes a bundle, whole or not at all; knows no model.

The bundle (``manifest.py`` draws it) is written beside its path, each part verified by its own exporter, and renamed: a
folder of that name is whole or absent.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rankstream.bundles.golden import Arrays, write_golden
from rankstream.bundles.manifest import GOLDEN, Manifest, ManifestError, check_manifest, write_manifest
from rankstream.bundles.parts import BundlePart, ExportError
from rankstream.features.files import whole_folder


def write_bundle(folder: Path, parts: Sequence[BundlePart], manifest: Manifest) -> Manifest:
    """Write the parts; return the manifest given, with the parts and their files in it.

    Raises ``ExportError`` and leaves nothing behind if the parts don't fit each other, or one can't be verified.
    """
    listed = msgspec.structs.replace(manifest, parts=tuple(one.part for one in parts))
    try:
        check_manifest(listed)
    except ManifestError as exc:
        raise ExportError(f"these parts make no bundle: {exc}") from exc
    if folder.exists():
        raise ExportError(f"{folder} is there already; a bundle never changes: export to a new folder")
    with whole_folder(folder) as unfinished:
        golden: dict[str, Sequence[Arrays]] = {}
        metrics: dict[str, Any] = {}
        for one in parts:
            written = one.write(unfinished)
            if twice := golden.keys() & written.golden.keys():
                raise ExportError(
                    f"the golden cases {min(twice)} of {one.part.kind} are another part's too; rename them"
                )
            golden |= written.golden
            metrics |= written.metrics
        write_golden(unfinished / GOLDEN, golden)
        measured = {**manifest.metrics, "export": metrics}
        return write_manifest(unfinished, msgspec.structs.replace(listed, metrics=measured))
