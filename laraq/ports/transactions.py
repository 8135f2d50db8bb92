"""Transactions of the application's own database, for jobs that wait for a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Transactions(Protocol):
    """The transactions of one database library, as they are open in this thread or asyncio task."""

    def handles(self, session: Any) -> bool:
        """Whether `session` is one of this library."""

    def defer(self, send: Callable[[], None], on_rollback: Callable[[], None], session: Any = None) -> bool:
        """Call `send` once the outermost open transaction (of `session`, when given) is committed, or `on_rollback`
        once that or the savepoint open now ended otherwise: one of them, once. False when none is open: neither."""

    def open_session(self, session: Any = None) -> Any | None:
        """The session whose transaction is open here (`session`, when given), None when there is none."""
