"""What a worker ends of is in its log once, however many of its tasks meet it."""

import asyncio
import logging

import pytest

from rankstream.streams.worker.runtime import WorkerRuntime


class Ending:
    """A worker that asks brokers what an error means, as far as telling needs one."""

    def __init__(self) -> None:
        self.has_told_why = False
        self._told: set[str] = set()

    async def _why(self, exc: BaseException) -> str:
        await asyncio.sleep(0)
        return str(exc)


def test_a_reason_that_several_tasks_meet_is_told_once_and_another_one_too(caplog: pytest.LogCaptureFixture) -> None:
    ending = Ending()

    async def meet() -> None:
        met = [PermissionError("lacks Read"), PermissionError("lacks Read"), OSError("disk is full")]
        await asyncio.gather(*(WorkerRuntime._tell_why(ending, one) for one in met))  # type: ignore[arg-type]

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(meet())
    assert ending.has_told_why
    assert [record.getMessage() for record in caplog.records] == [
        "the worker ends: PermissionError: lacks Read",
        "the worker ends: OSError: disk is full",
    ]
