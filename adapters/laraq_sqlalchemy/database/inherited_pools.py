"""Engines that were made before a fork."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Engine
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Mapper, Session


class InheritedPools:
    """Starts the pool of an engine over in a forked child.

    Connections that the parent had opened (a query at import time is enough) are sockets both processes write to.
    The child forgets them unclosed: they are still the parent's.
    Source: SQLAlchemy, "Using Connection Pools with Multiprocessing or os.fork()".
    """

    def __init__(self) -> None:
        self._born_in = os.getpid()
        self._pid_of: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()

    def leave(self, session: Session, mapper: Mapper[Any] | None = None) -> None:
        """Call before `session` connects (for `mapper`'s table); it does something once an engine and child."""
        pid = os.getpid()
        with suppress(UnboundExecutionError):  # the engine depends on the mapper, or the query will say it lacks one
            engine = session.get_bind(mapper).engine
            if self._pid_of.get(engine, self._born_in) != pid:
                engine.dispose(close=False)
                self._pid_of[engine] = pid
