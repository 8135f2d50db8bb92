"""OpenParcels: whoever looks at a worker, or changes what it does, finds its requests where Celery keeps them."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep

from laraq_celery.worker.mailbox import mailbox


class OpenParcels(StartStopStep):
    """Opens all parcels before a remote control command (celery.worker.pidbox: Pidbox) is carried out."""

    requires = ("celery.worker.consumer.control:Control",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)

    def start(self, consumer: Any) -> None:
        """Wrap the mailbox's dispatch of commands."""
        parcels = consumer.app.laraq.host.parcels
        node = getattr(mailbox(consumer), "node", None)
        if parcels is None or node is None or "dispatch" in vars(node):
            return
        dispatch = node.dispatch

        def open_and_dispatch(*arguments: Any, **options: Any) -> Any:
            parcels.open_all()
            return dispatch(*arguments, **options)

        node.dispatch = open_and_dispatch
