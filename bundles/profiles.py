"""The part that is the users' profiles: what users are apart from what they do (``features/profiles.py``)."""

from pathlib import Path

from rankstream.bundles.parts import BundlePart, Part, Written
from rankstream.features.profiles import PROFILE_FILES, UserProfiles, write_profiles

PROFILES = "profiles"
USERS, COLUMNS = "users", "columns"  # facts: how many are known, and what each of the context's columns is


def export_profiles(profiles: UserProfiles) -> BundlePart:
    """Return the part that writes the profiles into a folder named as the kind."""

    def write(folder: Path) -> Written:
        write_profiles(folder / PROFILES, profiles)
        return Written()

    files = tuple(f"{PROFILES}/{name}" for name in PROFILE_FILES)
    facts = {USERS: len(profiles), COLUMNS: list(profiles.column_names)}
    sizes = {"profile_columns": profiles.width}
    return BundlePart(Part(kind=PROFILES, files=files, sizes=sizes, facts=facts), write)
