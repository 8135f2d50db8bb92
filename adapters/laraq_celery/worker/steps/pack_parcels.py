"""PackParcels: jobs reach the processes of the pool several at a time."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep

from laraq_celery.worker.parcels import Parcels


class PackParcels(StartStopStep):
    """Used only with processes and an event loop."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        """Other pools share nothing: they have no way to a child."""
        return bool(worker.use_eventloop and str(getattr(worker.pool_cls, "__module__", "")).endswith("prefork"))

    def create(self, worker: Any) -> Any:
        """Create the Parcels before the pool forks: its children inherit the memory."""
        worker.app.laraq.host.parcels = Parcels(worker.app, worker)

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Register at the start, and after each lost connection."""
        worker.app.laraq.host.parcels.register(hub)

    def close(self, worker: Any) -> None:
        """A worker that stops finishes what its processes are doing, and begins nothing."""
        worker.app.laraq.host.parcels.open_all()
