"""Who is let in and how often: tokens compared in constant time, and a bucket of requests for each client address."""

import hmac
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256

MAX_ADDRESSES = 10_000  # of which a count is kept: an attacker with more of them begins anew with each


class Tokens:
    """The bearer tokens that are let in; none lets everybody in."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._digests = [_digest(token) for token in tokens]

    def admits(self, authorization: str | None) -> bool:
        """Return whether a header ``Authorization`` shows one of the tokens.

        All are compared, as digests: how long it takes tells neither length nor beginning of any.
        """
        if not self._digests:
            return True
        scheme, _, shown = (authorization or "").partition(" ")
        found = [hmac.compare_digest(_digest(shown.strip()), digest) for digest in self._digests]
        return scheme.lower() == "bearer" and any(found)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


class RateLimit:
    """Buckets of tokens: each address has ``per_second``, at most as many at once; 0 limits nothing."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> requests left, since when (s)

    def wait_s(self, address: str, now_s: float) -> float:
        """Count one request of an address; return 0 if it may pass, else after how long another one will."""
        if not self.per_second:
            return 0.0
        most = max(1.0, self.per_second)
        left, since_s = self._buckets.pop(address, (most, now_s))
        left = min(most, left + (now_s - since_s) * self.per_second)
        passes = left >= 1
        self._buckets[address] = (left - 1 if passes else left, now_s)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - left) / self.per_second
