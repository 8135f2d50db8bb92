"""by_hand(): `handle` of a job as a test calls it, with what it is not given injected."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from laraq.current import current


def by_hand(job: Any) -> Callable[..., Any]:
    """`handle` of the job. Parameters that a call leaves out are filled by the container of the current Laraq."""
    function, fields = job.entry()

    def handle(*args: Any, **kwargs: Any) -> Any:
        given = {**fields, **inspect.signature(function).bind_partial(*args, **kwargs).arguments}
        laraq = current()
        extras = laraq._workplace.offers(job)
        if inspect.iscoroutinefunction(function):

            async def ahandle() -> Any:
                async with laraq.container.scope(extras) as scope:
                    return await scope.acall(function, **given)

            return ahandle()
        with laraq.container.scope(extras) as scope:
            return scope.call(function, **given)

    return handle
