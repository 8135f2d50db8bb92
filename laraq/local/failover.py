"""The failover connection: uses the first of several that accepts the job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from laraq import events
from laraq.errors import ConfigurationError, DispatchError, InvalidJobError
from laraq.events import Events
from laraq.messages.payload import Payload
from laraq.ports import QueueConnection


class FailoverConnection:
    """`connections={"safe": {"driver": "failover", "connections": ["default", "backup"]}}`.

    (Illuminate/Queue/FailoverQueue.php) Each connection needs its own workers.
    """

    immediate = False

    def __init__(self, connection: Callable[[str], QueueConnection], name: str, connections: Sequence[str]) -> None:
        if not connections:
            raise ConfigurationError(f"Connection {name!r}: 'connections' is empty: name at least one connection.")
        self.name = name
        self._connection = connection
        self._connections = tuple(connections)
        #: Connections whose failure was already reported, until a push succeeds there again.
        self._down: set[str] = set()

    def push(self, payload: Payload, delay: float = 0) -> Any:
        """Send the job through the first connection that accepts it; raises the last one's DispatchError."""
        *others, last = self._connections
        for name in others:
            try:
                return self._push(name, payload, delay)
            except InvalidJobError:
                raise
            except DispatchError as error:
                if name not in self._down:
                    self._down.add(name)
                    Events.emit(events.QueueFailedOver, payload, None, name, error)
        return self._push(last, payload, delay)

    def bulk(self, payloads: Sequence[tuple[Payload, float]]) -> None:
        """Send job by job, so that jobs already sent are not sent again elsewhere."""
        for payload, delay in payloads:
            self.push(payload, delay)

    def joined(self, session: Any) -> Any | None:
        """The first connection as part of the session's transaction, which can only fail together with it."""
        join = getattr(self._connection(self._connections[0]), "joined", None)
        return None if join is None else join(session)

    def default_queue(self) -> str:
        """The default queue of the first connection."""
        return self._connection(self._connections[0]).default_queue()

    def _push(self, name: str, payload: Payload, delay: float) -> Any:
        sent = self._connection(name).push(payload.with_(connection=name), delay)
        self._down.discard(name)
        return sent
