"""Maintenance: workers take no jobs while the application is down, except those that were started with --force."""

from __future__ import annotations

from collections.abc import Mapping

from laraq import events
from laraq.events import Events
from laraq.orders.board import Board, Order

#: The order's name.
DOWN = "down"


class Maintenance:
    """Takes the application down for its workers and up again (Illuminate/Foundation/Console: down, up)."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def down(self) -> None:
        """Let all jobs wait; those that run go on, and jobs can be sent."""
        self._board.give(DOWN)
        Events.emit(events.MaintenanceModeEnabled)

    def up(self) -> bool:
        """Undo `down`; return whether the application was down. Paused queues stay paused."""
        stood = self._board.take_back([DOWN])
        Events.emit(events.MaintenanceModeDisabled)
        return bool(stood)

    def is_down(self) -> bool:
        """Whether the application is down."""
        return self._board.is_given(DOWN)


def is_down(orders: Mapping[str, Order]) -> bool:
    """Whether these orders take the application down."""
    return DOWN in orders
