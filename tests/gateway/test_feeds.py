"""Each feed is handed to who waits for it, and to nobody else."""

import asyncio

import msgspec
import pytest

from rankstream.gateway.answers import RefusedError
from rankstream.gateway.feeds import FOLLOWED, FOLLOWED_BYTES, FeedBoard
from rankstream.streams.codec import RankedFeed
from tests.builders.patience import PATIENCE_S


def a_feed(request_id="r1", user_id="u1"):
    return msgspec.json.encode(RankedFeed(request_id, user_id, 0, items=[]))


def test_a_request_gets_its_own_feed_and_no_other():
    async def main():
        board = FeedBoard(1)
        with board.expecting(7, "r1") as feed:
            for other in (a_feed("r2", "7"), a_feed("r1", "8"), b"no JSON", b"{}"):
                board.arrived(other)
            assert not feed.done()
            board.arrived(a_feed("r1", "7"))
            board.arrived(a_feed("r1", "7"))  # a worker that was killed may answer twice
            return await feed

    assert asyncio.run(main()).value == a_feed("r1", "7")


def test_one_request_twice_at_once_is_refused_and_later_is_not():
    async def main():
        board = FeedBoard(1)
        with board.expecting("u1", "r1"), pytest.raises(RefusedError, match="its own id"), board.expecting("u1", "r1"):
            pass
        with board.expecting("u1", "r1"), board.expecting("u2", "r1"):
            pass

    asyncio.run(main())


def test_who_follows_slowly_gets_the_newest():
    async def main():
        board = FeedBoard(1)
        with board.following("u1") as follower:
            for number in range(FOLLOWED + 5):
                board.arrived(a_feed(f"r{number}"))
            board.arrived(a_feed("other", "u2"))
            return [follower.get_nowait().request_id for _ in range(follower.qsize())]

    assert asyncio.run(main()) == [f"r{number}" for number in range(5, FOLLOWED + 5)]


def test_no_more_follow_than_may():
    async def main():
        board = FeedBoard(1)
        with board.following("u1"), pytest.raises(RefusedError, match="max_streams"), board.following("u2"):
            pass
        with board.following("u2"):
            pass

    asyncio.run(main())


def test_who_comes_to_follow_when_all_were_let_go_is_let_go_at_once():
    async def main():
        board = FeedBoard(2)
        with board.following("u1") as before:
            board.close()
            with board.following("u1") as after:
                return [await asyncio.wait_for(one.get(), PATIENCE_S) for one in (before, after)]

    assert asyncio.run(main()) == [None, None]


def test_large_feeds_that_wait_are_bounded_in_bytes():
    async def main():
        board = FeedBoard(1)
        with board.following("u1") as follower:
            for number in range(FOLLOWED):
                board.arrived(a_feed(f"r{number}") + b" " * 100_000)
            many = [follower.get_nowait() for _ in range(follower.qsize())]
            board.arrived(a_feed("large") + b" " * 2 * FOLLOWED_BYTES)
            return many, follower.get_nowait().request_id, follower.qsize()

    many, large, left = asyncio.run(main())
    assert 900_000 < sum(len(one.value) for one in many) <= FOLLOWED_BYTES
    assert (many[-1].request_id, large, left) == (f"r{FOLLOWED - 1}", "large", 0)
