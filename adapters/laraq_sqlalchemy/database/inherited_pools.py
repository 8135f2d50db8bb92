"""Engines that were created before a fork."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Engine
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Mapper, Session


class InheritedPools:
    """Restarts the pool of an engine in a forked child.

    Connections that the parent opened (a query at import time is enough) are sockets to which both processes write.
    The child drops them without closing: they still belong to the parent.
    Source: SQLAlchemy, "Using Connection Pools with Multiprocessing or os.fork()".
    """

    def __init__(self) -> None:
        self._born_in = os.getpid()
        self._pid_of: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()

    def leave(self, session: Session, mapper: Mapper[Any] | None = None) -> None:
        """Call before `session` connects (for `mapper`'s table); acts once for each engine and child."""
        pid = os.getpid()
        with suppress(UnboundExecutionError):  # the engine depends on the mapper, or the query will raise this
            engine = session.get_bind(mapper).engine
            if self._pid_of.get(engine, self._born_in) != pid:
                engine.dispose(close=False)
                self._pid_of[engine] = pid
