"""Jobs made for one test each: their middleware, and what `handle` does."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from laraq import Job

_numbers = itertools.count(1)


def returns(_job: Any) -> str:
    return "ran"


def raises(error: BaseException) -> Callable[[Any], Any]:
    """A body that raises."""

    def body(_job: Any) -> Any:
        raise error

    return body


def work(
    *middleware: Any, body: Callable[[Any], Any] = returns, asynchronous: bool = False, **options: Any
) -> type[Job]:
    """A new Job class; its instances take nothing. It has many tries unless `tries` says otherwise."""

    def handle(self: Any) -> Any:
        return body(self)

    async def ahandle(self: Any) -> Any:
        await asyncio.sleep(0)
        return body(self)

    members = {
        "__module__": __name__,
        "__qualname__": f"Work{next(_numbers)}",
        "handle": ahandle if asynchronous else handle,
        "middleware": lambda _self: list(middleware),
        "tries": 100,
        **options,
    }
    return type("Work", (Job,), members)
