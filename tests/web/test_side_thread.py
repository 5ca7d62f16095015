"""What ranks beside the feeds waits in one thread, up to a limit, and not for who is gone."""

import asyncio
import threading

import pytest

from rankstream.gateway.answers import RefusedError
from rankstream.web.side_thread import SideThread
from tests.builders.patience import PATIENCE_S


def test_what_waits_is_done_in_order_and_more_is_refused():
    async def main():
        side, go, done = SideThread("side", 3), threading.Event(), []
        jobs = [asyncio.create_task(side.run(lambda number=number: go.wait(PATIENCE_S) and done.append(number)))
                for number in range(3)]  # fmt: skip
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match="3 questions of pages wait here already"):
            await side.run(lambda: None)
        go.set()
        await asyncio.gather(*jobs)
        side.close()
        return done

    assert asyncio.run(main()) == [0, 1, 2]


def test_who_is_gone_leaves_its_place():
    async def main():
        side, go = SideThread("side", 2), threading.Event()
        first, gone = (asyncio.create_task(side.run(lambda: go.wait(PATIENCE_S))) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        third = asyncio.create_task(side.run(lambda: "done"))
        await asyncio.sleep(0)
        go.set()
        await first
        side_says = await third
        side.close()
        return side_says

    assert asyncio.run(main()) == "done"
