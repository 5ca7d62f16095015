"""What a shop would export of the users of a log: where the file lies, and its columns that were known before.

Counts that were taken over the whole log are left out, and so are KuaiRand's encoded features, of which it is not said
what they are.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class UserFile:
    """A file of users as it was published."""

    path: str  # under the folder of all logs
    columns: tuple[str, ...]  # that of the ids, then those to learn from

    def flags(self, data: Path) -> list[str]:
        """Return what `rankstream train` is to be told of it."""
        return [f"--users={(data / self.path).resolve()}", f"--user-columns={','.join(self.columns)}"]


FILES = {
    "ml1m": UserFile("ml1m_sasrec/users.parquet", ("user", "gender", "age", "occupation")),
    "kuairand": UserFile(
        "kuairand_pure_part/users.parquet",
        ("user_id", "user_active_degree", "is_live_streamer", "is_video_author", "follow_user_num", "fans_user_num",
         "friend_user_num", "register_days"),
    ),
    "completejourney": UserFile(
        "completejourney/demographics.parquet",
        ("household_id", "age", "income", "home_ownership", "marital_status", "household_size", "household_comp",
         "kids_count"),
    ),
}  # fmt: skip
