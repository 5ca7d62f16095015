"""On which scale the ratings of a log are: five stars, ten points or a hundred, one for all of its files."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from rankstream.events.file_log import LogFile, sampled
from rankstream.events.public.stars import POINTS, Ratings, points_told


def on_told_scale(files: Sequence[LogFile], path: Path) -> tuple[list[LogFile], tuple[str, ...]]:
    """Return the files, ratings on the scale that their first rows tell, and what to say of it.

    Raises ``LogError`` for a file that can't be read.
    """
    rated = [file for file in files if _ratings(file) is not None]
    high = max((_high(file) for file in sampled(rated)), default=0.0)
    points = points_told(high)
    if points == POINTS[0]:
        return list(files), ()
    note = f"{path}: a tenth of the ratings are {high:g} or more, so {points} points count as five stars"
    return [_on(points, file) for file in files], (note,)


def _ratings(file: LogFile) -> Ratings | None:
    """Return what makes actions of a file's ratings; None for a file of others."""
    found = getattr(file.reader, "translation", None)
    return found if isinstance(found, Ratings) else None


def _high(file: LogFile) -> float:
    """Return what a tenth of a file's first ratings reach."""
    reader: Any = file.reader  # of columns, which alone are translated
    with closing(reader.batches(None)) as batches:
        return max((reader.translation.high(batch) for batch in islice(batches, 1)), default=0.0)


def _on(points: int, file: LogFile) -> LogFile:
    ratings, reader = _ratings(file), cast("Any", file.reader)
    if ratings is None:
        return file
    return replace(file, reader=replace(reader, translation=replace(ratings, points=points)))
