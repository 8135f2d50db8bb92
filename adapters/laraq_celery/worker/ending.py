"""end(): a worker stops by itself, as if it had received SIGTERM. is_ending(): it was asked to stop, by whomever."""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.worker import state

from laraq.messages.stop_reason import StopReason


def end(consumer: Any, reason: StopReason, status: int = 0) -> None:
    """Have the worker finish its running jobs and exit with this status; called in its event loop."""
    if state.should_stop is not None or state.should_terminate is not None:
        return
    consumer.app.laraq.host.notify_stopping(str(consumer.hostname), reason, status)
    # As Celery does on a signal: who follows the deliveries must know before the loop does.
    signals.worker_shutting_down.send(sender=consumer.hostname, sig=str(reason), how="Warm", exitcode=status)
    state.should_stop = status


def is_ending() -> bool:
    """Whether the worker of this process stops. Celery's flags are its exit status, which may be 0; None and False are
    none."""
    return any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))
