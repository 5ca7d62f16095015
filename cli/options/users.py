"""What users are, as a command is given it: a file of users."""

from pathlib import Path

import numpy as np

from rankstream.cli.errors import Refusal
from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.content.user_files import ReadUsers, UserOptions, read_users
from rankstream.events.log import EventLog
from rankstream.features.ids import id_keys
from rankstream.features.profiles import UserProfiles
from rankstream.models.users.profiles import MadeProfiles, user_profiles


def user_options(columns: str | None) -> UserOptions:
    """Return what `--user-columns ID,NAME,...` says."""
    if columns is None:
        return UserOptions()
    first, *others = [name.strip() for name in columns.split(",")]
    if not all((first, *others)) or first in others:
        raise Refusal(
            f"--user-columns {columns} is no ID,NAME,...: name the column of the ids, then those to learn from"
        )
    return UserOptions(first, tuple(dict.fromkeys(others)))


def read_profiles(path: Path, options: UserOptions, log: EventLog, quiet: bool = False) -> UserProfiles:
    """Return the profiles of a file's users; say which columns they are of, and how many of the log's users are there.

    Raises ``LogError``, and ``Refusal`` where none of them is or no column tells users apart.
    """
    read = read_users(path, options)
    made = user_profiles(read)
    users = log.by_user.user_ids
    known = float(np.isin(id_keys(list(users)), made.profiles.keys).mean()) if len(users) else 0.0
    if not known:
        example = users[0] if len(users) else "none"
        raise Refusal(
            f"none of the log's users is in {path}, so it says nothing of them: the log has the id {example!r}, the "
            f"file {next(iter(read.users.values()))!r}; name the column of the ids with --user-columns ID"
        )
    if not made.profiles.width:
        raise Refusal(f"{path} says nothing of users to learn from: {_reasons(made) or 'it has no column but the ids'}")
    if not quiet:
        print_notes((*read.notes, *_notes(path, read, made, known)))
        print_skipped(read.skipped)
    return made.profiles


def _notes(path: Path, read: ReadUsers, made: MadeProfiles, known: float) -> tuple[str, ...]:
    facets = ", ".join(f"{facet.name} ({len(facet.labels)})" for facet in made.profiles.facets)
    said = f"{path}: {len(read.users):,} users, {known:.1%} of the log's among them; with their labels: {facets}"
    return (said, f"{path}: left out, {_reasons(made)}") if made.left_out else (said,)


def _reasons(made: MadeProfiles) -> str:
    return "; ".join(f"{name}: {why}" for name, why in made.left_out.items())
