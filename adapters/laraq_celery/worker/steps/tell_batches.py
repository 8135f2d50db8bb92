"""TellBatches: successes of batches' jobs are told by the worker's parent, in groups."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep

from laraq_celery.worker.outcomes import Outcomes

#: Jobs the worker prefetches for each process at least: with fewer, a process would wait for the end of a group.
PREFETCHED = 4

#: Seconds a cold shutdown waits for the batches to be told.
TERMINATED = 2.0


class TellBatches(StartStopStep):
    """Only with processes, an event loop to acknowledge in, and prefetched jobs to go on with meanwhile; else whoever
    runs a job tells its batch."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        """Not for `laraq work`, which prefetches nothing."""
        multiplier = int(worker.prefetch_multiplier or 0)
        prefork = str(getattr(worker.pool_cls, "__module__", "")).endswith("prefork")
        return bool(worker.use_eventloop and prefork and (multiplier == 0 or multiplier >= PREFETCHED))

    def create(self, worker: Any) -> Any:
        """Before the pool forks: its children ask whether there is one."""
        laraq = worker.app.laraq
        laraq.host.outcomes = Outcomes(laraq, int(worker.prefetch_multiplier or 0) * int(worker.concurrency or 0))

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """At the start, and after each lost connection."""
        worker.app.laraq.host.outcomes.register(hub)

    def stop(self, worker: Any) -> None:
        """Before the pool ends, whose last jobs are told as they come."""
        worker.app.laraq.host.outcomes.stop()

    def terminate(self, worker: Any) -> None:
        """The same, in a hurry."""
        worker.app.laraq.host.outcomes.stop(TERMINATED)
