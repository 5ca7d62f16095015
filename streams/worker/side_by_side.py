"""Works side by side, each to its end whatever the others do."""

import asyncio
from collections.abc import Awaitable, Iterable


async def all_of(works: Iterable[Awaitable[object]]) -> list[object]:
    """Run works side by side, each to its end whatever the others do; return what each returned or raised."""
    return await asyncio.gather(*works, return_exceptions=True)


def raise_first(results: Iterable[object]) -> None:
    """Raise the first of the results that is an exception."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
