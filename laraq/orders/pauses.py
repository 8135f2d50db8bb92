"""Pauses: queues whose jobs wait. Jobs can be sent there all the time; only workers leave them alone."""

from __future__ import annotations

from collections.abc import Mapping

from laraq import events
from laraq.events import Events
from laraq.orders.board import Board, Order

#: The order that pauses every queue, and what the orders for one queue begin with.
ALL, ONE = "paused", "paused:"


class Pauses:
    """Pauses queues and resumes them (Illuminate/Queue/QueueManager.php: pause, resume)."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def pause(self, connection: str, queue: str, seconds: float | None = None) -> None:
        """Pause a queue, for some seconds or until it is resumed; paused again, the new end counts."""
        self._board.give(_order(connection, queue), seconds)
        Events.emit(events.QueuePaused, connection, queue, seconds)

    def resume(self, connection: str, queue: str) -> bool:
        """Resume a queue; return whether it was paused."""
        stood = self._board.take_back([_order(connection, queue)])
        Events.emit(events.QueueResumed, connection, queue)
        return bool(stood)

    def pause_all(self, seconds: float | None = None) -> None:
        """Pause every queue of every connection, whatever its name."""
        self._board.give(ALL, seconds)
        Events.emit(events.QueuesPaused, seconds)

    def resume_all(self) -> bool:
        """Undo `pause_all`; return whether there was something to undo. Queues paused one by one stay paused."""
        stood = self._board.take_back([ALL])
        Events.emit(events.QueuesResumed)
        return bool(stood)

    def paused(self, connection: str, queue: str) -> bool:
        """Whether workers leave the queue alone."""
        return self._board.is_given(_order(connection, queue)) or self._board.is_given(ALL)

    def all(self) -> Mapping[str, float | None]:
        """The queues that are paused one by one, as "connection:queue", and the seconds left; None: until resumed."""
        return {name.removeprefix(ONE): one.ends_in for name, one in self._board.standing().items() if ONE in name}

    def all_paused(self) -> bool:
        """Whether every queue is paused."""
        return self._board.is_given(ALL)


def is_paused(orders: Mapping[str, Order], connection: str, queue: str) -> bool:
    """Whether these orders pause the queue."""
    return ALL in orders or _order(connection, queue) in orders


def _order(connection: str, queue: str) -> str:
    return f"{ONE}{connection}:{queue}"
