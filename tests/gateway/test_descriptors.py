"""How many connections the descriptors are enough for, and what is said where they are not."""

import asyncio
import resource

from rankstream.gateway.descriptors import ENOUGH, KEPT, NO_MORE, SPARE, Descriptors, OneLine, raised_limit


def test_some_are_kept_for_brokers_and_files_and_for_those_who_are_told_why():
    descriptors = Descriptors(20_000)
    assert descriptors.most == 20_000 - KEPT - SPARE
    assert descriptors.why_not(descriptors.most) is None
    assert "19,713 connections are open, and the 20,000 descriptors" in descriptors.why_not(descriptors.most + 1)
    assert [descriptors.are_gone(descriptors.most + more) for more in (1, SPARE, SPARE + 1)] == [False, False, True]
    assert Descriptors(8).most == 1


def test_the_soft_limit_becomes_the_hard_one_and_none_is_enough():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        assert raised_limit().limit == min(hard, ENOUGH)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_without_descriptors_says_so_once_a_minute_without_a_traceback(caplog):
    loop, handler = asyncio.new_event_loop(), OneLine()
    for _ in range(3):
        handler(loop, {"message": NO_MORE, "exception": OSError(24, "Too many open files")})
    handler(loop, {"message": "something else"})
    loop.close()
    assert [one.getMessage() for one in caplog.records] == [
        "no connection is taken: [Errno 24] Too many open files; raise the limit (`ulimit -n`)",
        "something else",
    ]
