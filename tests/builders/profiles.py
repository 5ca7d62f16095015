"""Profiles of users for tests."""

from pathlib import Path

from rankstream.content.user_files import UserOptions, read_users
from rankstream.features.profiles import UserProfiles
from rankstream.models.users.profiles import user_profiles

USERS = "user,sex,plan\n3,F,free\n7,M,paid\n9,M,\n11,F,free\n"


def some_profiles(folder: Path, text: str = USERS) -> UserProfiles:
    """The profiles of a file of users."""
    path = folder / "users.csv"
    path.write_text(text)
    return user_profiles(read_users(path, UserOptions())).profiles
