"""NotifyBatches: the worker's parent notifies batches of their jobs' successes, in groups."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep

from laraq_celery.worker.outcomes import Outcomes

#: Fewest jobs that the worker prefetches for each process: with fewer, a process would wait for the end of a group.
PREFETCHED = 4

#: Seconds a cold shutdown waits until the batches are notified.
TERMINATED = 2.0


class NotifyBatches(StartStopStep):
    """Used only with processes, an event loop for acknowledgements, and prefetched jobs to continue with; else
    the process that runs a job notifies its batch."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        """Excludes `laraq work`, which prefetches nothing."""
        multiplier = int(worker.prefetch_multiplier or 0)
        prefork = str(getattr(worker.pool_cls, "__module__", "")).endswith("prefork")
        return bool(worker.use_eventloop and prefork and (multiplier == 0 or multiplier >= PREFETCHED))

    def create(self, worker: Any) -> Any:
        """Create the Outcomes before the pool forks: its children check whether there are any."""
        laraq = worker.app.laraq
        laraq.host.outcomes = Outcomes(laraq, int(worker.prefetch_multiplier or 0) * int(worker.concurrency or 0))

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Register at the start, and after each lost connection."""
        worker.app.laraq.host.outcomes.register(hub)

    def stop(self, worker: Any) -> None:
        """Stop before the pool ends; its last jobs are reported one by one."""
        worker.app.laraq.host.outcomes.stop()

    def terminate(self, worker: Any) -> None:
        """Stop within TERMINATED seconds."""
        worker.app.laraq.host.outcomes.stop(TERMINATED)
