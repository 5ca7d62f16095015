"""Arrays that were computed already, by what names them; the ones that were asked for last are kept."""

import threading
from collections import OrderedDict

from rankstream.features.schema import Floats


class Remembered:
    """At most ``limit`` arrays; safe to call from many threads. Nobody may write into what it holds."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._found: OrderedDict[bytes, Floats] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: bytes) -> Floats | None:
        """Return what was put under this key, if it is still held."""
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
            return found

    def put(self, key: bytes, value: Floats) -> Floats:
        """Hold an array and return it; the one that nobody asked for the longest makes room."""
        with self._lock:
            self._found[key] = value
            if len(self._found) > self.limit:
                self._found.popitem(last=False)
        return value
