"""Which bootsteps a worker of an attached app gets. By name: only a worker imports them."""

from __future__ import annotations

from typing import Any

<<<<<<< HEAD
_WORKER = ("answer_signals:AnswerSignals", "fast_reap:FastReap", "keep_results:KeepResults", "stopping:Stopping",
           "tell_batches:TellBatches")  # fmt: skip

_CONSUMER = ("arrivals:Arrivals", "heartbeat:Looping", "housekeeping:Housekeeping", "parked:ParkedJobs",
             "reconcile:Reconcile", "stock_broker:StockBroker", "stop_when:StopWhen")  # fmt: skip
=======
from laraq_celery.steps.answer_signals import AnswerSignals
from laraq_celery.steps.arrivals import Arrivals
from laraq_celery.steps.fast_reap import FastReap
from laraq_celery.steps.heartbeat import Looping
from laraq_celery.steps.housekeeping import Housekeeping
from laraq_celery.steps.keep_results import KeepResults
from laraq_celery.steps.parked import ParkedJobs
from laraq_celery.steps.reconcile import Reconcile
from laraq_celery.steps.stock_broker import StockBroker
from laraq_celery.steps.stop_when import StopWhen
from laraq_celery.steps.stopping import Stopping
from laraq_celery.steps.tell_batches import TellBatches
>>>>>>> lane/14d


def install(app: Any) -> None:
    """Add them; Celery reads `app.steps` when a worker starts."""
<<<<<<< HEAD
    for kind, steps in (("worker", _WORKER), ("consumer", _CONSUMER)):
        app.steps[kind].update(f"{__package__}.{step}" for step in steps)
=======
    app.steps["worker"].update({AnswerSignals, FastReap, KeepResults, Stopping, TellBatches})
    app.steps["consumer"].update({Arrivals, Housekeeping, Looping, ParkedJobs, Reconcile, StockBroker, StopWhen})
>>>>>>> lane/14d
