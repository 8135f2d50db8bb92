"""DeclaringBrowser: for RabbitMQ, and every broker for which kombu can only count waiting messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amqp.exceptions import NotFound
from kombu.exceptions import ChannelError

from laraq.errors import NotInspectableError
from laraq.messages.inspection import QueueState
from laraq_celery.stock.browser import Found

_MANAGEMENT = "`rabbitmqctl list_queues name messages_ready messages_unacknowledged` or its management page does"

#: The reason why RabbitMQ cannot tell, by the requested state.
_AMQP = {
    QueueState.DELAYED: "AMQP counts the messages that are ready; delayed ones are with a worker or in delay queues"
    " that all queues share",
    QueueState.RESERVED: f"AMQP counts the messages that are ready, not those that workers have; {_MANAGEMENT}",
}
_AMQP_JOBS = "AMQP shows a message only to a consumer that takes it out of the queue"


class DeclaringBrowser:
    """Counts by passive declaration, which creates no queue; other requests are refused with the reason."""

    def __init__(self, channel: Any, driver: str) -> None:
        self._channel = channel
        self._is_rabbitmq = driver == "amqp"
        self._broker = "RabbitMQ" if self._is_rabbitmq else f"A broker of kind {driver!r}"

    def size(self, queue: str) -> int:
        """The number of messages that are ready."""
        try:
            return int(self._channel.queue_declare(queue, passive=True).message_count)
        except (NotFound, ChannelError) as error:
            return _nothing_if_not_found(error)

    def count(self, queue: str, state: QueueState) -> int:
        """The number of pending messages; other states are refused."""
        if state is QueueState.PENDING:
            return self.size(queue)
        raise self._refusal(f"how many jobs of {queue!r} are {state}", _AMQP[state])

    def messages(self, queue: str, state: QueueState, limit: int | None) -> Iterator[Found]:
        """Refused: messages cannot be read without taking them."""
        raise self._refusal(f"which jobs of {queue!r} are {state}", _AMQP_JOBS)

    def clear(self, queue: str) -> int:
        """Drop the messages that are ready; delayed and reserved ones stay."""
        try:
            return int(self._channel.queue_purge(queue) or 0)
        except (NotFound, ChannelError) as error:
            return _nothing_if_not_found(error)

    def _refusal(self, what: str, reason: str) -> NotInspectableError:
        return NotInspectableError(
            what, self._broker, reason if self._is_rabbitmq else "kombu's transport for it has no way to ask"
        )


def _nothing_if_not_found(error: Any) -> int:
    """Return 0 for a queue that does not exist; kombu's own transports write the code as text."""
    if str(error.reply_code) != "404":
        raise error
    return 0
