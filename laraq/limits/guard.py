"""Guard: admits a block of code, and releases what the block held."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, NamedTuple, Self
from uuid import uuid4

from laraq.current import current
from laraq.errors import LaraqError, StoreError
from laraq.ports import Store

logger = logging.getLogger("laraq.locks")


class Guard(ABC):
    """Works as `with` and as `async with`, which wait up to `patience` seconds and raise if they are not admitted.

    One object may be shared by threads and tasks, and be created before a fork: every entry has its own token. The
    async methods call the store in a thread, so the event loop is not blocked.
    """

    def __init__(self, patience: float, store: Store | None) -> None:
        self._patience = patience
        self._given_store = store
        #: The entries made by `with`, the latest last.
        self._inside: list[Entry] = []

    @property
    def _store(self) -> Store:
        return self._given_store or current().store

    def _token(self) -> str:
        """A token that identifies one entry in the store."""
        return uuid4().hex

    @abstractmethod
    def _try(self, token: str) -> float | None:
        """Try to enter: None when admitted, else the seconds to wait before the next try."""

    @abstractmethod
    def _leave(self, token: str) -> bool:
        """Release what `_try` acquired; return whether it was still held."""

    @abstractmethod
    def _refusal(self, waited: float, pause: float) -> LaraqError:
        """The error to raise when the patience is over."""

    def _may_hope(self, pause: float, left: float) -> bool:
        """Whether a try within the `left` seconds may succeed, when the last one returned `pause`."""
        return left > 0

    def _enter(self, token: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while (pause := self._try(token)) is not None:
            left = deadline - time.monotonic()
            if not self._may_hope(pause, left):
                raise self._refusal(patience, pause)
            time.sleep(min(pause, left))

    async def _aenter(self, token: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while (pause := await self._atry(token)) is not None:
            left = deadline - time.monotonic()
            if not self._may_hope(pause, left):
                raise self._refusal(patience, pause)
            await asyncio.sleep(min(pause, left))

    async def _atry(self, token: str) -> float | None:
        attempt = asyncio.ensure_future(asyncio.to_thread(self._try, token))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            # The thread goes on, and what it acquires would never be released.
            with suppress(StoreError):
                if await attempt is None:
                    await asyncio.to_thread(self._leave, token)
            raise

    def _exit(self, token: str) -> None:
        """Leave after the block. Its work is done, so neither a lost lease nor a failing store may raise."""
        try:
            if not self._leave(token):
                logger.warning("%s expired before its block ended: other owners may have entered meanwhile", self)
        except StoreError as error:
            logger.warning("%s could not be released and will expire on its own: %s", self, error)

    def __enter__(self) -> Self:
        token = self._token()
        self._enter(token, self._patience)
        self._inside.append(Entry(token, *_visitor()))
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._exit(self._my_token())

    async def __aenter__(self) -> Self:
        token = self._token()
        await self._aenter(token, self._patience)
        self._inside.append(Entry(token, *_visitor()))
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await asyncio.to_thread(self._exit, self._my_token())

    def _my_token(self) -> str:
        """Remove the last entry of this thread or task; if it has none, the last entry of all.

        (A web framework may end a generator's block in another thread.)
        """
        entries = list(self._inside)
        mine = [entry for entry in entries if entry[1:] == _visitor()]
        entry = (mine or entries)[-1]
        self._inside.remove(entry)
        return entry.token


class Entry(NamedTuple):
    """A thread or task inside the block."""

    token: str
    thread: int
    task: asyncio.Task[Any] | None


def _visitor() -> tuple[int, asyncio.Task[Any] | None]:
    """This thread, and the task it runs, if any."""
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:
        return threading.get_ident(), None
