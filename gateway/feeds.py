"""Who waits for which feed: requests by their id, and those who follow a user. Knows no broker and no HTTP."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Struct, UnsetType

from rankstream.features.decoding import UNREADABLE
from rankstream.features.ids import Id
from rankstream.gateway.answers import RefusedError
from rankstream.streams.codec import FeedError

FOLLOWED_BYTES = 1 << 20  # of these; one that is larger waits alone
FOLLOWED = 64  # feeds that wait for a client that reads slowly; older ones are dropped


class _Head(Struct):
    """What of a feed decides who gets it."""

    request_id: Id
    user_id: Id
    error: FeedError | UnsetType = UNSET


@dataclass(frozen=True)
class Feed:
    """A feed as it came, and what is known of it without reading it whole."""

    request_id: str
    value: bytes
    error: FeedError | None


class Follower(asyncio.Queue[Feed | None]):
    """The feeds that wait for one client, the newest; None: the gateway ends."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._bytes = 0

    def _get(self) -> Feed | None:
        feed: Feed | None = super()._get()
        self._bytes -= 0 if feed is None else len(feed.value)
        return feed

    def _put(self, item: Feed | None) -> None:
        super()._put(item)
        self._bytes += 0 if item is None else len(item.value)

    def put_newest(self, feed: Feed | None) -> None:
        """Put a feed behind the others, and drop the oldest where they are too many, or too large together."""
        size = 0 if feed is None else len(feed.value)
        while self.qsize() and (self.full() or self._bytes + size > FOLLOWED_BYTES):
            self.get_nowait()
        self.put_nowait(feed)


_decode_head = msgspec.json.Decoder(_Head).decode


class FeedBoard:
    """Hands each feed to who waits for it; feeds that nobody here waits for are of other gateways."""

    def __init__(self, max_followers: int) -> None:
        self._max_followers = max_followers
        self._waiting: dict[tuple[str, str], asyncio.Future[Feed]] = {}  # user, request
        self._followers: dict[str, set[Follower]] = {}
        self._is_closed = False
        self.num_followers = 0

    @contextmanager
    def expecting(self, user_id: Id, request_id: Id) -> Iterator["asyncio.Future[Feed]"]:
        """Wait for one feed. Raises ``RefusedError`` where that very request waits already."""
        name = (str(user_id), str(request_id))
        if name in self._waiting:
            raise RefusedError(
                409, "asked-twice", f"request {request_id} of user {user_id} is being answered; give each its own id"
            )
        self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            yield self._waiting[name]
        finally:
            del self._waiting[name]

    @contextmanager
    def following(self, user_id: Id) -> Iterator[Follower]:
        """Follow a user's feeds from now on. Raises ``RefusedError`` where too many do."""
        if self.num_followers >= self._max_followers:
            raise RefusedError(
                429, "too-many-streams", f"{self._max_followers} clients follow feeds here already, max_streams", 5
            )
        follower = Follower(FOLLOWED)
        of_user = self._followers.setdefault(str(user_id), set())
        of_user.add(follower)
        if self._is_closed:  # over a connection that was open: no feed comes any more
            follower.put_newest(None)
        self.num_followers += 1
        try:
            yield follower
        finally:
            self.num_followers -= 1
            of_user.discard(follower)
            if not of_user:
                self._followers.pop(str(user_id), None)

    def arrived(self, value: bytes) -> None:
        """Hand on a feed; what is no feed is nobody's."""
        try:
            head = _decode_head(value)
        except UNREADABLE:
            return
        user = str(head.user_id)
        error = None if isinstance(head.error, UnsetType) else head.error
        feed = Feed(str(head.request_id), value, error)
        waiting = self._waiting.get((user, feed.request_id))
        if waiting is not None and not waiting.done():
            waiting.set_result(feed)
        for follower in self._followers.get(user, ()):
            follower.put_newest(feed)

    def close(self) -> None:
        """Let all who follow go, and who comes to follow from now on."""
        self._is_closed = True
        for of_user in self._followers.values():
            for follower in of_user:
                follower.put_newest(None)
