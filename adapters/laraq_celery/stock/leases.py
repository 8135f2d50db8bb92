"""RedisLeases: renews and expires the leases of messages on stock Redis.

kombu's Redis transport keeps the messages that workers have taken in a hash, with the times in a sorted set. A message
that is there for longer than `visibility_timeout` is redelivered even if its worker is alive and running it, and
workers check this only every hundred seconds. Here a worker checks when the oldest lease is over.
"""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import logging
import time
from typing import Any

logger = logging.getLogger("laraq.leases")

#: Most seconds between two checks for messages of dead workers; while no lease can be over, there is no check.
SWEEP, LONGEST = 3.0, 30.0

#: Renewals within one visibility timeout, of which two may fail.
RENEWALS = 3

#: Seconds after which a sweep's lock expires; with kombu's 300, no worker would sweep for long after one is killed
#: during a sweep. Two sweeps at once do no harm: each message is requeued in its own transaction.
SWEEP_LOCK = 10

#: The names of kombu that are used; all but the third are undocumented.
_CHANNEL = ("qos", "conn_or_acquire", "visibility_timeout", "unacked_restore_limit", "unacked_mutex_expire")
_QOS = ("_delivered", "_dirty", "unacked_index_key", "restore_visible")


class RedisLeases:
    """Renews the leases of one channel's messages, and requeues messages whose leases are over."""

    def __init__(self, channel: Any, visibility_timeout: float | None = None) -> None:
        """`visibility_timeout` is used unless the transport options name one; check `lacking` before."""
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
        # Looked up once, because kombu's loop sweeps as soon as the worker is connected.
        vars(self._channel.qos).pop(name, None)

    @staticmethod
    def lacking(channel: Any) -> str:
        """What this kombu, or the app's options, lack for leases; empty if nothing."""
        if not getattr(channel, "ack_emulation", True):
            return "the transport option ack_emulation is off, so Redis keeps nothing of what a worker takes"
        missing = [name for name in _CHANNEL if not hasattr(channel, name)]
        missing += [f"qos.{name}" for name in _QOS if not hasattr(getattr(channel, "qos", None), name)]
        return f"this kombu has no {', '.join(missing)}" if missing else ""

    def wait(self) -> float:
        """Seconds until the next beat: until then no lease can be over, and none of this channel needs a renewal."""
        return self._wait

    def beat(self) -> bool:
        """Renew and sweep; return whether the channel holds any message."""
        channel = self._channel
        if channel.closed:
            return False
        try:
            self._renew()
            left = self._left()
            if left <= 0:
                channel.qos.restore_visible(num=channel.unacked_restore_limit, interval=1)
            self._wait = min(max(left, self.interval), self.timeout / RENEWALS, LONGEST)
        except Exception as error:  # after any error this must go on, or jobs would run twice
            self._renew_at, self._wait = time.monotonic(), self.interval
            logger.warning("Leases could not be renewed, trying again: %r", error)
        return bool(self._held())

    def _left(self) -> float:
        """Seconds until the oldest lease of any worker is over; new leases end later."""
        with self._channel.conn_or_acquire() as client:
            oldest = client.zrange(self._channel.qos.unacked_index_key, 0, 0, withscores=True)
        return self.timeout if not oldest else float(oldest[0][1]) + self.timeout - time.time()

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        if held := self._held():
            with self._channel.conn_or_acquire() as client:
                # Only existing entries: messages that were acknowledged meanwhile must stay removed.
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
