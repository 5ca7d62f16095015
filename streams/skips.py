"""Offsets that an operator has told workers to pass over unread, as the group's offset carries them.

A partition of user-actions is read on from the position in its store, wherever that is, so moving the group's offset is
not enough. What is to be passed over stands beside the moved offset, as its metadata, which whoever opens the partition
next reads; the first offset that a worker commits behind it takes its place.
"""

import re

SKIPPED = "skipped"  # the reason of the dead letter that names the offsets
SKIP = re.compile(r"skip (\d{1,19})\.\.(\d{1,19})", re.ASCII)
NOTHING = range(0)


def packed(skipped: range) -> str:
    """Return the metadata of a group's offset that has these offsets passed over."""
    return f"skip {skipped.start}..{skipped.stop}"


def unpacked(metadata: str | None) -> range:
    """Return the offsets that the metadata has passed over; none for any other."""
    found = SKIP.fullmatch(metadata or "")
    return range(int(found[1]), int(found[2])) if found else NOTHING
