"""UnknownJobs: a job whose class this worker does not have is not thrown away.

Stock Celery (`worker.consumer: Consumer.on_unknown_task`) rejects such a message: most brokers drop it then.
"""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep

from laraq_celery.task import ORIGINAL, UNKNOWN


class UnknownJobs(StartStopStep):
    """Leads unknown messages that carry a `laraq` header to the task `laraq.unknown`; others stay Celery's."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Wrap the consumer's handler; the event loop has not read it yet."""
        stock = consumer.on_unknown_task

        def on_unknown_task(body: Any, message: Any, error: Exception) -> Any:
            headers = message.headers
            if not isinstance(headers, dict) or "laraq" not in headers:
                return stock(body, message, error)
            message.headers = {**headers, "task": UNKNOWN, ORIGINAL: headers["task"]}
            handler = consumer.strategies[UNKNOWN]
            return handler(message, None, message.ack_log_error, message.reject_log_error, consumer.on_task_message)

        consumer.on_unknown_task = on_unknown_task
        channel = consumer.task_consumer.channel
        if hasattr(channel, "delivers_undecodable"):
            # A broker of ours met something that is no message: it comes as one that cannot be read (strategy.py).
            channel.delivers_undecodable = True
