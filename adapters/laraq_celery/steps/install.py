"""Which bootsteps a worker of an attached app gets."""

from __future__ import annotations

from typing import Any

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


def install(app: Any) -> None:
    """Add them; Celery reads `app.steps` when a worker starts."""
    app.steps["worker"].update({AnswerSignals, FastReap, KeepResults, Stopping, TellBatches})
    app.steps["consumer"].update({Arrivals, Housekeeping, Looping, ParkedJobs, Reconcile, StockBroker, StopWhen})
