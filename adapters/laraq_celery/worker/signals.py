"""Receivers of Celery's signals about a worker's life."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from celery import signals
from celery.utils.imports import cwd_in_path

from laraq import events
from laraq.errors import StoreError
from laraq.events import Events
from laraq.process import aio
from laraq_celery.receivers import while_alive
from laraq_celery.transports import lease_of, lease_options

if TYPE_CHECKING:
    from laraq.app import Laraq
    from laraq_celery.host import CeleryHost
    from laraq_celery.worker.group_signals import GroupSignals
    from laraq_celery.worker.interruption import Interruption

logger = logging.getLogger("laraq")

#: Seconds for which the store remembers that an application's workers used it.
SHARERS_KEPT = 7 * 24 * 3600.0


def connect(laraq: Laraq, app: Any) -> None:
    """Follow the worker of this app; several apps in one process each have their own Laraq."""
    interruption: Interruption | None = None
    group_signals: GroupSignals | None = None

    def import_modules(**_: Any) -> None:
        with cwd_in_path():  # as Celery imports its own modules
            laraq.discover()

    _find_jobs_too(app.loader)

    def worker_init(sender: Any, **_: Any) -> None:
        nonlocal interruption, group_signals
        if sender.app is app:
            # Late: a process that only sends needs none of it.
            from laraq_celery.worker.acknowledged import Acknowledged
            from laraq_celery.worker.group_signals import GroupSignals
            from laraq_celery.worker.interruption import Interruption
            from laraq_celery.worker.processed import Processed

            # Before the pool forks: children inherit the imports, and a wrong setting ends the worker here.
            laraq.ready()
            interruption = Interruption()
            group_signals = app.laraq.host.group_signals = GroupSignals(interruption)
            _host(laraq).acknowledged = acknowledged = Acknowledged()
            laraq.follow_acknowledgements(acknowledged)
            app.laraq.host.is_stopping, app.laraq.host.processed = False, Processed()
            _set_retry_after(laraq, app.conf)

    def worker_ready(sender: Any, **_: Any) -> None:
        if sender.app is app:
            app.laraq.host.pool = sender.pool
            Events.emit(events.WorkerStarting, str(sender.hostname))
            _tell_the_way(app, sender)
            _warn_of_pool(app, sender.pool)
            _warn_without_jobs(app)
            _warn_of_shared_store(laraq)

    def worker_process_init(**_: Any) -> None:
        from laraq_celery.worker.trace import shorten

        shorten(app)
        if interruption is not None:
            interruption.listen()
        if group_signals is not None:
            group_signals.listen()

    def worker_shutting_down(sender: Any = None, sig: str = "", **_: Any) -> None:
        if interruption is None:
            return  # another app's worker
        app.laraq.host.notify_stopping(str(sender or ""))
        parcels = _host(laraq).parcels
        if parcels is not None:
            parcels.stop_all()
        if sig in signal.Signals.__members__:
            interruption.notify(int(signal.Signals[sig]), parcels.running() if parcels is not None else ())

    def worker_process_shutdown(**_: Any) -> None:
        aio.close()
        if interruption is not None:
            laraq.run_journal.close()
        if group_signals is not None:
            group_signals.leave()

    def worker_shutdown(sender: Any, **_: Any) -> None:
        if sender.app is app:
            _erase_records(laraq)

    while_alive(app, signals.import_modules, import_modules, sender=app)
    while_alive(app, signals.worker_init, worker_init)
    while_alive(app, signals.worker_ready, worker_ready)
    while_alive(app, signals.worker_process_init, worker_process_init)
    while_alive(app, signals.worker_shutting_down, worker_shutting_down)
    while_alive(app, signals.worker_process_shutdown, worker_process_shutdown)
    while_alive(app, signals.worker_shutdown, worker_shutdown)


def _find_jobs_too(loader: Any) -> None:
    """Let `app.autodiscover_tasks(["shop"])` also import `shop.jobs`, called before or later."""
    find = loader.autodiscover_tasks

    def autodiscover_tasks(packages: Any, related_name: str | None = "tasks") -> None:
        packages = tuple(packages or ())
        find(packages, related_name)
        if related_name == "tasks":
            find(packages, "jobs")

    loader.autodiscover_tasks = autodiscover_tasks


def _set_retry_after(laraq: Laraq, conf: Any) -> None:
    own = laraq.settings.connections.get(laraq.settings.default)
    # A default connection with its own URL is not the broker this worker consumes.
    seconds = lease_of(own) if isinstance(own, Mapping) and "url" not in own else None
    url, options = str(conf.broker_read_url or conf.broker_url or ""), conf.broker_transport_options
    if (leased := lease_options(url, options, seconds, laraq.settings.retry_after)) != options:
        conf.broker_transport_options = leased


def _host(laraq: Laraq) -> CeleryHost:
    return cast("CeleryHost", laraq.host)


def _erase_records(laraq: Laraq) -> None:
    """Erase the records of this worker's processes, which have all ended with their messages acknowledged."""
    try:
        if (acknowledged := _host(laraq).acknowledged) is not None:
            acknowledged.erase_gone(laraq.store.journal, all_of_them=True)
    except StoreError as error:
        logger.warning(
            "The records of this worker in the run journal could not be removed and expire in a week: %s", error
        )


def _warn_of_shared_store(laraq: Laraq) -> None:
    """Warn of other applications in the store: without their own prefixes they share all records."""
    store, own = laraq.store, laraq.host.label
    try:
        if getattr(store, "strays", bool)():
            logger.warning(
                "%s holds records without the prefix of %s. If they are its own, stop its processes and run"
                " `laraq migrate --adopt`.",
                store.label,
                own,
            )
        known = store.cache.get("apps")
        names = set(json.loads(known.value)) if known is not None else set()
        if others := sorted(names - {own}):
            logger.warning(
                "%s also keeps the records of %s, which share failed jobs, locks and limits. If these are other"
                " applications, give each a laraq_prefix, or a database of its own.",
                store.label,
                ", ".join(others),
            )
        store.cache.put("apps", json.dumps(sorted(names | {own})), SHARERS_KEPT)
    except StoreError as error:
        logger.warning("Other applications with records in %s could not be listed: %s", store.label, error)


def _tell_the_way(app: Any, consumer: Any) -> None:
    """Log how jobs reach the pool's processes, and what makes some of them heavier."""
    parcels = app.laraq.host.parcels
    if parcels is not None and (why := parcels.obstacle(consumer.event_dispatcher)) is None:
        logger.info("Quick jobs reach the processes of the pool several at a time")
    else:
        reason = "the pool has no processes, or no event loop" if parcels is None else why
        logger.info("Jobs reach the pool one by one: %s", reason)
    from laraq_celery.worker.trace import obstacles

    for reason, names in obstacles(app).items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        logger.info("Celery's full tracer runs %s: %s", shown, reason)


def _warn_without_jobs(app: Any) -> None:
    """Warn that the worker has no jobs: usually their module was not imported. An app may also use only laraq's limits
    and locks."""
    own = [task for name, task in app.tasks.items() if not name.startswith(("celery.", "laraq."))]
    if any(hasattr(task, "job_class") for task in own):
        return
    expected = getattr(app, "laraq_narrator", None) is not None or not own
    logger.log(
        logging.WARNING if expected else logging.INFO,
        "This worker has no jobs: it knows only those of modules that it imports. Name these modules with -A, in"
        " imports or include of the app, or in Laraq(app, discover=[...]).",
    )


def _warn_of_pool(app: Any, pool: Any) -> None:
    if (
        getattr(pool, "signal_safe", True)
        and hasattr(pool, "terminate_job")
        and type(pool).__module__.endswith("prefork")
    ):
        return
    timed = [name for name, task in app.tasks.items() if getattr(getattr(task, "job_class", None), "timeout", None)]
    if timed:
        logger.warning(
            "The pool %s cannot stop a running job: the timeout of %s has no effect. Use --pool prefork.",
            type(pool).__module__.rpartition(".")[2],
            ", ".join(sorted(timed)),
        )
