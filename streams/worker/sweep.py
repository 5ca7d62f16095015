"""Users of whom nothing came for ``forget_after_days``: their states give way to the mark, a few at each checkpoint.

Nobody sees when that is done: an action, or a request, of so much later sees nothing of such a state anyway
(``features/user_state.py``). So the sweep has no position of its own, goes on where it is after a restart, and is the
same for both engines. It goes by the times of the log: of the newest record applied, and never beyond the clock, as one
record of a time to come would have all users forgotten. What comes late has a day.
"""

from itertools import islice

from rankstream.features.actions import action_time_ms
from rankstream.features.stores.cache import UserCache
from rankstream.features.user_state import HEAD, MARK, WITH_MARK

AT_ONCE = 1_000  # records that are looked at in a checkpoint, in a few milliseconds
LATE_MS = 24 * 3_600_000


class Sweep:
    """Goes round and round through the users of one partition."""

    def __init__(self, users: UserCache) -> None:
        self._users = users
        self._after = b""  # the user that was looked at last

    def go_on(self, log_ms: int) -> int:
        """Look at the next users, with the log as of a time; return how many have given way to their mark."""
        users, since_ms = self._users, log_ms - self._users.forget_after_ms - LATE_MS
        if not users.forget_after_ms or since_ms <= 0:
            return 0
        looked_at = list(islice(users.store.items(self._after), AT_ONCE))
        self._after = looked_at[-1][0] if len(looked_at) == AT_ONCE else b""
        keys = [key for key, record in looked_at if 0 < newest_ms_in(record) < since_ms]
        states = users.get_many(keys)
        expired = [state.expired(log_ms - LATE_MS, users.forget_after_ms) for state in states]
        changed = [(key, new) for key, new, old in zip(keys, expired, states, strict=True) if new is not old]
        for key, state in changed:  # else: an action has come that is not in the store yet
            users.put(key, state)
        return len(changed)


def newest_ms_in(record: bytes) -> int:
    """Return when the newest action in a packed ``UserState`` occurred, nothing else unpacked; 0 without one."""
    begin = HEAD.size + (MARK.size if record[0] == WITH_MARK else 0)
    return action_time_ms(record[begin:]) if record[1] else 0
