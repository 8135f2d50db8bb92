"""Setup: what `laraq doctor` looks at, read from the app, its broker, its store and its jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from celery import Celery
from kombu.transport import get_transport_cls

from laraq.config import EMBEDDED_URL
from laraq.errors import LaraqError
from laraq.jobs import registry
from laraq.ports import Examined, StoreHealth

if TYPE_CHECKING:
    from laraq.app import Laraq
    from laraq_celery.host import CeleryHost

#: Hosts that only this machine reaches.
_HERE = frozenset({"", "localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """None: it is not known."""

    #: The scheme of the broker's URL without variants: redis, amqp, laraq-redis, laraq-db, sqs, ...
    broker: str = "redis"
    broker_is_here: bool = True
    broker_user: str = ""
    broker_has_password: bool = False
    broker_error: str = ""
    #: What Redis as a broker does when it is full.
    broker_eviction: str | None = None
    #: `visibility_timeout` of the transport options, or `laraq_retry_after` in its place.
    visibility_timeout: float | None = None
    retry_after: float | None = 90
    store: str = "Redis"
    #: Whether the store is this machine's alone, by default or by its URL.
    store_is_here: bool = False
    store_error: str = ""
    store_health: StoreHealth = field(default_factory=StoreHealth)
    #: Seconds by which the store's clock is ahead of this machine's.
    clock_ahead: float | None = None
    #: Tables of laraq's database broker that are missing.
    missing_tables: tuple[str, ...] = ()
    pool: str = "prefork"
    start_method: str = "fork"
    prefetch: int = 4
    soft_shutdown: float = 0
    late_tasks: bool = False
    task_limit: float | None = None
    #: Scheme of the result backend; empty without one.
    results: str = ""
    results_expire: bool = True
    has_keys: bool = False
    accept_unsigned: str = "tokens"
    #: Names of job classes: with a timeout, with the longest one, encrypted, with a priority.
    timed: tuple[str, ...] = ()
    longest_timeout: float = 0
    encrypted: tuple[str, ...] = ()
    prioritized: tuple[str, ...] = ()
    max_priority: int | None = None


def setup_of(laraq: Laraq) -> Setup:
    """Look at everything; what does not answer is a part of it."""
    app, settings = cast("CeleryHost", laraq.host).app, laraq.settings
    conf: Any = app.conf
    url = str(conf.broker_write_url or conf.broker_url or "amqp://")
    address = urlsplit(url.split(";")[0])
    kind = _kind(address.scheme)
    own_retry_after = settings.retry_after if "retry_after" in settings.model_fields_set else None
    options = conf.broker_transport_options or {}
    broker_error, broker_eviction = _ask_broker(app, kind)
    store_error, health, ahead = _ask_store(laraq)
    backend = str(conf.result_backend or "").partition("://")[0].partition("+")[0]
    classes = [cls for cls in registry.classes() if not cls.job_name().startswith("laraq.")]
    timeouts = {cls.job_name(): seconds for cls in classes if (seconds := _seconds(cls.timeout))}
    return Setup(
        broker=kind,
        broker_is_here=kind == "laraq-db" or (address.hostname or "") in _HERE,
        broker_user=address.username or "",
        broker_has_password=bool(address.password),
        broker_error=broker_error,
        broker_eviction=broker_eviction,
        visibility_timeout=options.get("visibility_timeout", own_retry_after),
        retry_after=options.get("retry_after", settings.retry_after),
        store=laraq.store.label,
        store_is_here=_is_here(laraq),
        store_error=store_error,
        store_health=health,
        clock_ahead=ahead,
        missing_tables=_missing_tables(url) if not broker_error else (),
        pool=str(conf.worker_pool or "prefork"),
        start_method=str(conf.get("worker_pool_start_method") or "fork"),
        prefetch=int(conf.worker_prefetch_multiplier or 0),
        soft_shutdown=float(conf.get("worker_soft_shutdown_timeout") or 0),
        late_tasks=bool(conf.task_acks_late),
        task_limit=conf.task_time_limit,
        results="" if backend in ("", "disabled", "rpc") or conf.task_ignore_result else backend,
        results_expire=bool(conf.result_expires),
        has_keys=bool(settings.keys),
        accept_unsigned=str(settings.accept_unsigned),
        timed=tuple(sorted(timeouts)),
        longest_timeout=max(timeouts.values(), default=0),
        encrypted=tuple(sorted(cls.job_name() for cls in classes if cls.encrypted is True)),
        prioritized=tuple(sorted(cls.job_name() for cls in classes if isinstance(cls.priority, int))),
        max_priority=conf.task_queue_max_priority,
    )


def _kind(scheme: str) -> str:
    scheme = scheme.partition("+")[0]
    kinds = {"pyamqp": "amqp", "amqps": "amqp", "rediss": "redis", "sentinel": "redis", "": "amqp"}
    return {"laraq-rediss": "laraq-redis", "laraq-sentinel": "laraq-redis"}.get(scheme, kinds.get(scheme, scheme))


def _seconds(timeout: Any) -> float:
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    return float(timeout) if isinstance(timeout, int | float) else 0.0


def _is_here(laraq: Laraq) -> bool:
    store = laraq.store.label.lower()
    return store.startswith("memory") or ("sqlite" in store) or laraq.settings.store == EMBEDDED_URL


def _ask_broker(app: Celery, kind: str) -> tuple[str, str | None]:
    """The reason why the broker does not answer, and what it does when it is full."""
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
            client = getattr(connection.default_channel, "client", None)
            if kind not in ("redis", "laraq-redis") or client is None:
                return "", None
            told: Mapping[str, Any] = client.info("memory")
            return "", told.get("maxmemory_policy")
    except ValueError:  # its text quotes the supposed port, which may be a part of the password
        return "its URL cannot be read", None
    except Exception as error:  # from any library behind the transport
        return f"{type(error).__name__}: {error}", None


def _ask_store(laraq: Laraq) -> tuple[str, StoreHealth, float | None]:
    """The reason why the store does not answer, what it tells, and how far its clock is ahead."""
    store = laraq.store
    if not isinstance(store, Examined):
        return "", StoreHealth(), None
    try:
        before = time.time()
        health = store.examine()
        after = time.time()
    except LaraqError as error:
        return str(error), StoreHealth(), None
    # Within its round trip the clocks cannot be told apart.
    ahead = None if health.now is None else max(health.now - after, 0.0) - max(before - health.now, 0.0)
    return "", health, ahead


def _missing_tables(url: str) -> tuple[str, ...]:
    if not url.startswith("laraq-"):
        return ()
    missing = getattr(get_transport_cls(url.partition("+")[0].partition(":")[0]), "missing", None)
    return () if missing is None else tuple(missing(url))
