"""queues() and workers(): what an app's configuration and its running workers tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from celery import Celery

from laraq.cli.host import RunningJob, RunningWorker
from laraq.errors import InspectionError

if TYPE_CHECKING:
    from laraq.app import Laraq
    from laraq_celery.host import CeleryHost

#: Seconds in which workers answer.
PATIENCE = 1.0


def queues(laraq: Laraq) -> Mapping[str, Sequence[str]]:
    """The queues that the app declares, and the one of each named connection."""
    app = _app(laraq)
    declared = {laraq.settings.default: [str(app.conf.task_default_queue), *app.amqp.queues]}
    for name, config in _named(laraq):
        declared[name] = [str(config.get("queue") or app.conf.task_default_queue)]
    return declared


def workers(laraq: Laraq) -> Mapping[str, Sequence[RunningWorker] | None]:
    """The workers that answer, by connection; each broker is asked once."""
    places = {laraq.settings.default: None, **{name: config.get("url") for name, config in _named(laraq)}}
    asked = {url: _ask(_app(laraq), url) for url in dict.fromkeys(places.values())}
    return {name: asked[url] for name, url in places.items()}


def _ask(app: Celery, url: str | None) -> Sequence[RunningWorker] | None:
    with app.connection_for_write(url) as connection:
        if "fanout" not in connection.transport.implements.exchange_type:
            return None
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
            inspect = app.control.inspect(timeout=PATIENCE, connection=connection)
            consumed: dict[str, Any] = inspect.active_queues() or {}
            active: dict[str, Any] = (inspect.active() or {}) if consumed else {}
        except (*connection.connection_errors, *connection.channel_errors) as error:
            raise InspectionError(
                f"The workers at {connection.as_uri()} cannot be asked ({error}). Check that the broker runs and that"
                " the URL is right."
            ) from error
    return [
        RunningWorker(
            name,
            tuple(str(queue["name"]) for queue in found or ()),
            tuple(_running(each) for each in active.get(name) or ()),
        )
        for name, found in sorted(consumed.items())
    ]


def _running(told: Mapping[str, Any]) -> RunningJob:
    since = told.get("time_start")
    return RunningJob(
        str(told["id"]), str(told["name"]), datetime.fromtimestamp(since, UTC) if since is not None else None
    )


def _named(laraq: Laraq) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The configured connections that have a broker."""
    for name, config in laraq.settings.connections.items():
        if isinstance(config, str):
            yield name, {"url": config}
        elif isinstance(config, Mapping) and config.get("driver") in (None, "celery"):
            yield name, config


def _app(laraq: Laraq) -> Celery:
    return cast("CeleryHost", laraq.host).app
