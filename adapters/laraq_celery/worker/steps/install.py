"""The bootsteps of a worker of an attached app. By name: only a worker imports them."""

from __future__ import annotations

from typing import Any

#: The remote control command by which workers look at their orders (obey.py).
LOOK_COMMAND = "laraq_look"

_WORKER = ("answer_signals:AnswerSignals", "fast_reap:FastReap", "keep_results:KeepResults", "stopping:Stopping",
           "notify_batches:NotifyBatches", "pack_parcels:PackParcels")  # fmt: skip

_CONSUMER = ("arrivals:Arrivals", "health:HealthFile", "heartbeat:Looping", "housekeeping:Housekeeping", "obey:Obey",
             "open_parcels:OpenParcels", "parked:ParkedJobs", "reconcile:Reconcile", "stock_broker:StockBroker",
             "stop_when:StopWhen")  # fmt: skip


def install(app: Any) -> None:
    """Add the bootsteps; Celery reads `app.steps` when a worker starts."""
    for kind, steps in (("worker", _WORKER), ("consumer", _CONSUMER)):
        app.steps[kind].update(f"{__package__}.{step}" for step in steps)
