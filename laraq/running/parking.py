"""Parking: refused jobs wait in the store instead of circulating through their queue.

A job is parked before its message is acknowledged, and sent before it is forgotten. A crash in between can only send it
twice: both messages are the same start of the job, which the journal allows once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence

from laraq.errors import DispatchError, LaraqError
from laraq.messages.delivery import Obstacle
from laraq.messages.payload import Payload
from laraq.ports import Host, Line, ParkedJob, Store
from laraq.sending.dispatcher import Dispatcher

logger = logging.getLogger("laraq.parking")


class ParkingLot:
    """The parked jobs of one Laraq, in its store."""

    def __init__(self, store: Callable[[], Store], host: Host, dispatcher: Dispatcher) -> None:
        self._store = store
        self._host = host
        self._dispatcher = dispatcher
        #: Called when this process has parked a job: a job may have to be woken earlier than planned.
        self.changed: Callable[[], None] = lambda: None

    def park(self, obstacle: Obstacle, payload: Payload) -> None:
        """Keep the job until the obstacle is gone. Raises StoreError, or ValueError for a job that is not JSON."""
        line = self._line(obstacle)
        try:
            message = json.dumps(payload.to_dict(), separators=(",", ":"), allow_nan=False)
        except TypeError as error:
            raise ValueError(str(error)) from error
        since = payload.parked.get(line.text, 0)
        self._send(self._store().parking.park(ParkedJob(line, payload.run_key, message, since, obstacle.demands)))

    def free(self, lock: str, owner: str) -> bool:
        """Release the lock if `owner` still holds it, and send the job that is woken; return whether it was held.

        Raises StoreError.
        """
        held, called = self._store().parking.free(Line(self._host.label, lock), owner)
        self._send(called)
        return held

    def is_behind(self, obstacle: Obstacle, payload: Payload) -> bool:
        """Whether other jobs already wait for the obstacle, and this job does not yet. Raises StoreError."""
        line = self._line(obstacle)
        return line.text not in payload.parked and self._store().parking.count(line) > 0

    def send_due(self) -> float | None:
        """Send every job that may run now; return the seconds until there may be others, None when none wait.

        Raises StoreError.
        """
        parking = self._store().parking
        lines, left = parking.due(self._host.label)
        for line in lines:
            self._send(parking.call(line))
        return 0.0 if lines else left

    def waiting(self) -> Iterator[tuple[Line, Payload]]:
        """The jobs of this application that wait, and what for, line by line. Raises StoreError."""
        for job in self._store().parking.waiting(self._host.label):
            yield job.line, Payload.from_dict(json.loads(job.message))

    def _line(self, obstacle: Obstacle) -> Line:
        return Line(self._host.label, obstacle.lock, tuple(demand.key for demand in obstacle.demands))

    def _send(self, called: Sequence[ParkedJob]) -> None:
        """Send woken jobs; a job that cannot be sent is woken again later."""
        sent = []
        try:
            for job in called:
                payload = Payload.from_dict(json.loads(job.message))
                place = {**payload.parked, job.line.text: job.since}
                self._dispatcher.resend(payload.with_(parked=place))
                sent.append(job)
        except DispatchError as error:
            logger.error("A parked job could not be sent and stays parked for now: %s", error)
        finally:
            if sent:
                self._forget(sent)

    def _forget(self, sent: Sequence[ParkedJob]) -> None:
        try:
            self._store().parking.sent(sent)
        except LaraqError as error:
            # They are woken again and sent twice, but start once.
            logger.warning("Parked jobs were sent, but could not be removed from the store: %s", error)
