"""After commit: sends that wait for an open transaction, and how such a transaction is found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from laraq.errors import ConfigurationError
from laraq.ports import Transactions

logger = logging.getLogger("laraq.transactions")

Callback: TypeAlias = Callable[[], None]


@dataclass(slots=True)
class _Waiting:
    """One waiting send."""

    #: The transaction or savepoint that decides about it when it ends.
    scope: Hashable
    send: Callback
    on_rollback: Callback


class Held:
    """The sends that wait for one outermost transaction, in the order in which they were requested.

    Each belongs to the transaction or savepoint that was innermost then; `scope` is the adapter's key for that.
    """

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, scope: Hashable, send: Callback, on_rollback: Callback) -> None:
        """Hold one send."""
        self._waiting.append(_Waiting(scope, send, on_rollback))

    def release(self, savepoint: Hashable, outer: Hashable) -> None:
        """Move the sends of a savepoint that was released to the outer transaction or savepoint."""
        for one in self._waiting:
            if one.scope == savepoint:
                one.scope = outer

    def drop(self, scope: Hashable) -> None:
        """Drop the sends of a savepoint that was rolled back."""
        gone = [one for one in self._waiting if one.scope == scope]
        self._waiting = [one for one in self._waiting if one.scope != scope]
        _give_up(gone)

    def clear(self) -> None:
        """Drop all sends after a transaction that ended without a commit."""
        gone, self._waiting = self._waiting, []
        _give_up(gone)

    def send(self) -> None:
        """Send all after the commit, even if some of them fail.

        Every failure is logged and the first one raised: the commit stands, but the caller must learn that a job is
        missing.
        """
        waiting, self._waiting = self._waiting, []
        failures: list[Exception] = []
        for one in waiting:
            try:
                one.send()
            except Exception as error:
                logger.error("A job was not sent, though the transaction it waited for is committed: %s", error)
                failures.append(error)
        if failures:
            failures[0].add_note(f"The transaction is committed; {len(failures)} of {len(waiting)} jobs were not sent.")
            raise failures[0]


def _give_up(gone: Sequence[_Waiting]) -> None:
    for one in gone:
        try:
            one.on_rollback()
        except Exception:
            # The rollback has its own reason, which this error must not replace.
            logger.exception("After a rollback, the lock of a job that was not sent could not be released")


class AfterCommit:
    """The transactions of every database library in use, for the dispatcher."""

    def __init__(
        self,
        libraries: Callable[[], Sequence[Transactions]],
        imported: Callable[[], Sequence[Transactions]] = tuple,
    ) -> None:
        """`libraries` watch the application's sessions; `imported` ones handle only a session that is passed in."""
        self._libraries = libraries
        self._imported = imported
        self._warned = False

    def open_session(self, session: Any = None) -> Any | None:
        """The session with the transaction that is open here: the innermost, or `session`; None when none is open.

        Raises ConfigurationError for a session of an unknown library.
        """
        for library in self._asked(session):
            if (found := library.open_session(session)) is not None:
                return found
        return None

    def defer(self, send: Callback, on_rollback: Callback, session: Any = None) -> bool:
        """Hold `send` until the outermost open transaction commits; False, and no call, when none is open.

        If that transaction, or the savepoint open now, rolls back, `on_rollback` is called instead. With `session` it
        is the transaction of that session, else the innermost one open in this thread or asyncio task. Raises
        ConfigurationError for a session of an unknown library.
        """
        return any(library.defer(send, on_rollback, session) for library in self._asked(session))

    def warn_if_blind(self, job: str) -> None:
        """Warn once that a job which should wait for a commit cannot, because no session factory is registered."""
        if not self._warned and not self._libraries():
            self._warned = True
            logger.warning(
                "%s asks to be sent after commit, but no session factory is registered, so it is sent at once: pass the"
                " factories, Laraq(app, sessions=...), or the session, dispatch(job, session=session).",
                job,
            )

    def _asked(self, session: Any) -> Sequence[Transactions]:
        libraries = self._libraries()
        if session is None:
            return libraries
        for library in (*libraries, *self._imported()):
            if library.handles(session):
                return (library,)
        raise ConfigurationError(
            f"A job was sent with a {type(session).__qualname__} as its session: expected a session of a library that"
            " laraq knows."
        )
