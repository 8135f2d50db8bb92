"""Transactions of the application's own database, for jobs that wait for a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Transactions(Protocol):
    """The transactions of one database library that are open in this thread or asyncio task."""

    def handles(self, session: Any) -> bool:
        """Whether `session` is a session of this library."""

    def defer(self, send: Callable[[], None], on_rollback: Callable[[], None], session: Any = None) -> bool:
        """Call `send` once the outermost open transaction (of `session`, when given) is committed, or `on_rollback`
        once that or the savepoint open now has ended otherwise: one of the two, once. False, and no call, when none is
        open."""

    def open_session(self, session: Any = None) -> Any | None:
        """The session (`session`, when given) with a transaction that is open here, or None."""
