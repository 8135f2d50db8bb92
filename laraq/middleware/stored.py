"""Stored: the base of middleware that counts in a store, the default one or another."""

from __future__ import annotations

from typing import Self

from laraq.current import current
from laraq.middleware.releasing import Releasing
from laraq.ports import Store


class Stored(Releasing):
    """Counts in the store of the current Laraq."""

    _connection: str | Store | None = None

    @property
    def _store(self) -> Store:
        return current().store_of(self._connection)


class OnRedis(Stored):
    """The `...WithRedis` classes of Laravel, which exist because its other limiters are not atomic.

    In laraq all limiters are atomic. These classes add `connection`, and count in the default store without it.
    """

    def connection(self, store: str | Store) -> Self:
        """Count in that store: a URL, or a Store object."""
        return self._with(_connection=store)
