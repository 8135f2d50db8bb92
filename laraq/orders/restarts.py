"""Restarts: every worker that began before the order ends, and its supervisor starts it again."""

from __future__ import annotations

from collections.abc import Mapping

from laraq.orders.board import Board, Order

#: The order's name.
RESTART = "restart"


class Restarts:
    """Tells workers to end (Illuminate/Queue/Console/RestartCommand.php)."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def order(self) -> None:
        """Have all workers finish their running jobs and exit."""
        self._board.give(RESTART)


def is_restarted(at_start: Mapping[str, Order], now: Mapping[str, Order]) -> bool:
    """Whether a restart was ordered since; a store that was emptied is none."""
    before, after = at_start.get(RESTART), now.get(RESTART)
    return after is not None and (before is None or before.token != after.token)
