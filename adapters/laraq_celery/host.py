"""CeleryHost: a Celery app as the carrier of jobs. `Laraq(app)` attaches; ordinary tasks stay as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject, Retry
from celery.result import AsyncResult
from kombu.transport import get_transport_cls
from kombu.utils.json import JSONEncoder, object_hook

from laraq.errors import ConfigurationError
from laraq.events import Events, WorkerStopping
from laraq.jobs import registry
from laraq.messages.delivery import Done, Fail, Release, Verdict
from laraq.messages.link import Link
from laraq.messages.stop_reason import StopReason
from laraq_celery import in_tests, transports
from laraq_celery.sending.queue import CeleryQueue
from laraq_celery.stock.delays import Delays
from laraq_celery.tasks import canvas
from laraq_celery.tasks.ordinary import record_failures
from laraq_celery.worker import steps
from laraq_celery.worker.app_task import made
from laraq_celery.worker.arrival import UNKNOWN
from laraq_celery.worker.forks import leave_pools
from laraq_celery.worker.signals import connect
from laraq_celery.worker.task import JobTask, UnknownJobTask, task_for

if TYPE_CHECKING:
    from laraq.app import Laraq
    from laraq_celery.worker.acknowledged import Acknowledged
    from laraq_celery.worker.group_signals import GroupSignals
    from laraq_celery.worker.outcomes import Outcomes
    from laraq_celery.worker.parcels import Parcels
    from laraq_celery.worker.processed import Processed

logger = logging.getLogger("laraq.orders")

#: Seconds that a broker has to take a remote control command.
TOLD_WITHIN = 2.0

#: URL schemes of brokers that a store adapter can also use.
_REDIS = ("redis", "rediss", "laraq-redis", "laraq-rediss")


class CeleryHost:
    """Implements `laraq.ports.Host` for one Celery app."""

    control_flow: tuple[type[BaseException], ...] = (Retry, Ignore, Reject)

    def __init__(self, laraq: Laraq, app: Celery | None) -> None:
        transports.register()
        self._laraq = laraq
        self.app = app if app is not None else _embedded_app(laraq)
        #: The delayed jobs of the app's own broker in the store.
        self.delays = Delays(self.app, None, lambda: self.app.amqp.producer_pool)
        #: Set in a worker whose parent notifies batches, and in its children.
        self.outcomes: Outcomes | None = None
        #: Set in a worker whose jobs reach its processes in parcels.
        self.parcels: Parcels | None = None
        #: Set in a worker and its children.
        self.group_signals: GroupSignals | None = None
        self.acknowledged: Acknowledged | None = None
        #: The pool of a worker, and what it has run; set in a worker.
        self.pool: Any = None
        self.processed: Processed | None = None
        #: Whether WorkerStopping was emitted in this process.
        self.is_stopping = False
        if getattr(self.app, "laraq", None) is not None:
            raise ConfigurationError(f"Laraq is attached to {self.app!r} already: use app.laraq.")
        self.app.laraq = laraq
        if self.app.finalized:
            self._register_all()
        else:
            self.app.on_after_finalize.connect(self._register_all, weak=False)
        registry.listen(self._register)
        steps.install(self.app)
        leave_pools(self.app)
        connect(laraq, self.app)
        record_failures(laraq, self.app)
        canvas.follow(laraq, self.app)

    @property
    def label(self) -> str:
        """Celery's own name of the app."""
        return f"Celery app {self.app.main or '(unnamed)'!r}"

    def notify_stopping(self, worker: str, reason: StopReason = StopReason.INTERRUPTED, status: int = 0) -> None:
        """Emit WorkerStopping, once: Celery's signals report only workers that a signal stops."""
        if not self.is_stopping and (done := self.processed) is not None:
            from laraq_celery.worker.memory import memory  # late: a process that only sends needs none of it

            self.is_stopping = True
            done.look()
            Events.emit(WorkerStopping, worker, status, reason, done.jobs, done.last_at, memory(self.pool))

    def verdict(self, error: BaseException) -> Verdict | None:
        """`Ignore`: the job is done. `Reject`: it failed, or is requeued. `Retry`: None, as its task has sent it."""
        match error:
            case Reject(requeue=True):
                return Release()
            case Reject():
                return Fail(error)
            case Ignore():
                return Done()
            case _:
                return None

    def settings(self) -> Mapping[str, Any]:
        """The app's `laraq_*` keys, also as `CELERY_LARAQ_*` if the app has a namespace."""
        if self._laraq.embedded:
            return {}
        conf = self.app.conf
        found: dict[str, Any] = {}
        for source in reversed(conf.maps):
            for key in source:
                name = str(key).lower()
                prefix = f"{conf.prefix.lower()}laraq_" if getattr(conf, "prefix", "") else "laraq_"
                for known in {prefix, "laraq_"}:
                    if name.startswith(known):
                        found[name.removeprefix(known)] = source[key]
        from laraq.config import MAY_BE_NONE  # late, for pydantic

        return {name: value for name, value in found.items() if value is not None or name in MAY_BE_NONE}

    def store_urls(self) -> Sequence[str]:
        """The broker if it is Redis or laraq's database broker, then the result backend if it is a database."""
        urls = []
        broker = str(self.app.conf.broker_url or "")
        scheme = broker.partition("://")[0]
        if scheme in _REDIS:
            urls.append(broker.split(";")[0].removeprefix("laraq-"))
        elif scheme.startswith("laraq-db+"):
            urls.append(broker.removeprefix("laraq-db+"))
        backend = str(self.app.conf.result_backend or "")
        if backend.startswith("db+"):
            urls.append(backend.removeprefix("db+"))
        return urls

    def prefix(self) -> str:
        """`global_keyprefix`, as kombu's Redis transport and Celery's Redis backend read it."""
        conf = self.app.conf
        options = (conf.broker_transport_options, conf.result_backend_transport_options)
        return next((str(found) for each in options if each and (found := each.get("global_keyprefix"))), "")

    def aliases(self) -> Sequence[str]:
        """The kind of broker: jobs may use `on_connection("redis")` for an app whose broker is Redis."""
        scheme = str(self.app.conf.broker_url or "amqp").partition("://")[0].partition("+")[0]
        kinds = {"pyamqp": "amqp", "rediss": "redis", "laraq-redis": "redis", "laraq-rediss": "redis"}
        return [{"laraq-db": "database"}.get(scheme, kinds.get(scheme, scheme))]

    def connect(self, name: str, config: Mapping[str, Any]) -> CeleryQueue:
        """A connection to the app's own broker, or to the one at `config["url"]`."""
        return CeleryQueue(self.app, name, url=config.get("url"), queue=config.get("queue"))

    def tell_workers(self) -> None:
        """Broadcast a remote control command."""
        try:
            with self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=TOLD_WITHIN)
                self.app.control.broadcast(steps.LOOK_COMMAND, connection=connection)
        except Exception as error:  # of whatever library is behind the transport
            logger.debug("Workers could not be told to look at their orders: %r", error)

    def migrate(self) -> Sequence[str]:
        """Create the tables of laraq's own transports (`Transport.migrate(url)`); others have none."""
        url = str(self.app.conf.broker_write_url or self.app.conf.broker_url or "")
        if not url.startswith("laraq-"):
            return ()
        migrate = getattr(get_transport_cls(url.partition("+")[0].partition(":")[0]), "migrate", None)
        return () if migrate is None else list(migrate(url))

    def task(self, cls: type[Any]) -> Any:
        """The Celery task of a Job class."""
        return self.app.tasks[cls.job_name()]

    def mark(self, value: Any) -> Any:
        """Mark a value as kombu's JSON does, including types that users have registered."""
        return JSONEncoder().default(value)  # type: ignore[no-untyped-call]

    def unmark(self, marked: dict[str, Any]) -> Any:
        """Restore a value as kombu's JSON does."""
        return object_hook(marked)

    def defines_tasks(self, module: str) -> bool:
        """Whether the module defines a task, other than Celery's and laraq's own."""
        own = module.partition(".")[0] in ("celery", __package__)
        return not own and any(task.__module__ == module for task in self.app.tasks.values())

    def result(self, id: str) -> AsyncResult:
        """Celery's AsyncResult of a job."""
        return self.app.AsyncResult(id)

    def injectables(self) -> Mapping[Any, Any]:
        """The app, and the running Celery task."""
        return {Celery: self.app, Task: self.app.current_task}

    def at_broker(self, url: str) -> AbstractContextManager[None]:
        """Have the app's broker at that URL for a block, also for processes that are started."""
        return in_tests.at_broker(self.app, url)

    def intercepting(
        self, take: Callable[[Any, Callable[[], Any]], bool], *, whole: bool
    ) -> AbstractContextManager[None]:
        """For a block, give `take` each task that would be sent, and what runs it here."""
        return in_tests.intercepting(self.app, take, whole=whole)

    def foreign(self, thing: Any, id: str) -> Link | None:
        """A Celery signature as a link of a chain or batch."""
        return canvas.as_link(self._laraq, self.app, thing, id)

    def _register_all(self, **_: Any) -> None:
        if UNKNOWN not in self.app._tasks:
            _bind(self.app, made(UnknownJobTask, self.app, UnknownJobTask.__name__, {}))
        for cls in registry.classes():
            self._register(cls)

    def _register(self, cls: type[Any]) -> None:
        """Make the class a task of this app; before the app is finalized, `_register_all` does it later."""
        if not self.app.finalized:
            return
        known = self.app._tasks.get(cls.job_name())
        if known is None or (isinstance(known, JobTask) and known.job_class is not cls):
            task = task_for(cls, self.app)
            if task is not None:
                _bind(self.app, task)


def _bind(app: Celery, task: Task) -> None:
    """Bind a task as `Celery.register_task` does, without finalizing the app first."""
    task._app = None
    app._tasks[task.name] = task
    task.bind(app)


def _embedded_app(laraq: Laraq) -> Celery:
    """The app behind the embedded default: broker, results and store in one place, read from the settings."""
    app = Celery("laraq", set_as_current=False)

    def defaults() -> dict[str, Any]:
        url = laraq.settings.url
        ready = url.partition("://")[0] in (*_REDIS, "amqp", "pyamqp", "memory")
        return {
            "broker_url": url if ready else f"laraq-db+{url}",
            "broker_connection_retry_on_startup": True,
            "broker_transport_options": {} if ready else {"retry_after": laraq.settings.retry_after},
        }

    app.add_defaults(defaults)
    return app
