"""RedisLeases: who holds a message on stock Redis, and for how long.

kombu's Redis transport keeps what a worker has taken in a hash, with the time of taking in a sorted set. Whatever is
in there for longer than `visibility_timeout` is given to somebody else, though its worker be alive and at it; and
only every hundred seconds does anybody look. Here somebody looks when the oldest lease is over.
"""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
import time
from typing import Any

logger = logging.getLogger("laraq.leases")

#: Seconds between looks for what dead workers held; while no lease there is can be over, as many as that at most.
SWEEP, LONGEST = 3.0, 30.0

#: Renewals within one visibility timeout: two may fail.
RENEWALS = 3

#: Seconds after which a sweep's lock ends by itself; kombu's 300 would keep all workers from sweeping when one is
#: killed at it. Two sweeps at once do no harm: each message goes back in a transaction of its own.
SWEEP_LOCK = 10

#: What is used of kombu, all but the third not part of what it documents.
_CHANNEL = ("qos", "conn_or_acquire", "visibility_timeout", "unacked_restore_limit", "unacked_mutex_expire")
_QOS = ("_delivered", "_dirty", "unacked_index_key", "restore_visible")


class RedisLeases:
    """Renews the leases of all that one channel holds, and gives back what others held too long."""

    def __init__(self, channel: Any, visibility_timeout: float | None = None) -> None:
        """`visibility_timeout` is taken unless the transport options name one; look at `lacking` before."""
        self._channel = channel
        options = channel.connection.client.transport_options or {}
        if visibility_timeout is not None and "visibility_timeout" not in options:
            self._set("visibility_timeout", visibility_timeout)
        if "unacked_mutex_expire" not in options:
            self._set("unacked_mutex_expire", min(channel.unacked_mutex_expire, SWEEP_LOCK))
        self.timeout = float(channel.visibility_timeout)
        self.interval = min(self.timeout / RENEWALS, SWEEP)
        self._renew_at = time.monotonic()
        self._wait = 0.0

    def _set(self, name: str, value: float) -> None:
        setattr(self._channel, name, value)
        # Looked up once, and kombu's loop sweeps as soon as the worker is connected.
        vars(self._channel.qos).pop(name, None)

    @staticmethod
    def lacking(channel: Any) -> str:
        """What this kombu, or this app's options, lack for leases; empty when nothing."""
        if not getattr(channel, "ack_emulation", True):
            return "the transport option ack_emulation is off, so Redis keeps nothing of what a worker takes"
        missing = [name for name in _CHANNEL if not hasattr(channel, name)]
        missing += [f"qos.{name}" for name in _QOS if not hasattr(getattr(channel, "qos", None), name)]
        return f"this kombu has no {', '.join(missing)}" if missing else ""

    def wait(self) -> float:
        """Seconds until the next beat: for as long no lease there is can be over, and none of ours is due."""
        return self._wait

    def beat(self) -> bool:
        """Renew and sweep; say whether anything is held."""
        channel = self._channel
        if channel.closed:
            return False
        try:
            self._renew()
            left = self._left()
            if left <= 0:
                channel.qos.restore_visible(num=channel.unacked_restore_limit, interval=1)
            self._wait = min(max(left, self.interval), self.timeout / RENEWALS, LONGEST)
        except Exception as error:  # whatever it is: it must go on, or jobs would run twice
            self._renew_at, self._wait = time.monotonic(), self.interval
            logger.warning("Leases could not be renewed, trying again: %r", error)
        return bool(self._held())

    def _left(self) -> float:
        """Seconds until the oldest lease is over, whoever holds it; those that begin now are longer."""
        with self._channel.conn_or_acquire() as client:
            oldest = client.zrange(self._channel.qos.unacked_index_key, 0, 0, withscores=True)
        return self.timeout if not oldest else float(oldest[0][1]) + self.timeout - time.time()

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        if held := self._held():
            with self._channel.conn_or_acquire() as client:
                # Only those still there: what was acknowledged meanwhile must stay gone.
                now = time.time()
                client.zadd(self._channel.qos.unacked_index_key, dict.fromkeys(held, now), xx=True)
        self._renew_at = time.monotonic() + self.timeout / RENEWALS - self.interval / 2

    def _held(self) -> list[str]:
        """Delivery tags; the event loop changes both collections meanwhile."""
        qos = self._channel.qos
        while True:
            try:
                done = set(qos._dirty)
                return [tag for tag in list(qos._delivered) if tag not in done]
            except RuntimeError:
                continue
