"""work(): runs `laraq work` as Celery's worker command, with Laravel's options."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from celery.bin.base import CLIContext
from celery.bin.worker import worker

from laraq.cli.host import HostOption
from laraq_celery.command.narrator import Narrator
from laraq_celery.transports import lease_of, lease_options
from laraq_celery.worker.steps.stop_when import StopRules

if TYPE_CHECKING:
    from laraq.app import Laraq
    from laraq.cli.host import WorkOptions
    from laraq_celery.host import CeleryHost

#: Variables by which Celery would override the connection of `laraq work <connection>`.
_BROKER_VARIABLES = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")


#: Celery's options that cannot be passed on: Celery would restart itself as `celery`.
_NOT_PASSED_ON = ("--detach", "--executable")


def own_options() -> Sequence[HostOption]:
    """The options of `celery worker`."""
    return [
        HostOption(
            tuple(param.opts),
            bool(param.is_flag),
            param.metavar or (" or ".join(param.type.choices) if hasattr(param.type, "choices") else None),
            param.help or "",
        )
        for param in worker.params
        if not set(param.opts) & set(_NOT_PASSED_ON)
    ]


def work(laraq: Laraq, options: WorkOptions) -> int:
    """Run the worker; return its exit status."""
    app = cast("CeleryHost", laraq.host).app
    if options.connection is not None:
        _move_to(laraq, app, options)
    if len(options.queues) > 1:
        _serve_in_order(app)
    rules = StopRules(
        options.max_jobs,
        options.stop_when_empty,
        options.stop_when_empty_for,
        options.max_time,
        int(options.memory * 2**20),
    )
    app.laraq_forced = options.force
    if rules != StopRules():
        app.laraq_stop_when = rules
    if not options.quiet:
        app.laraq_narrator = Narrator(laraq, app, options)
        app.laraq_narrator.listen()
    known = {param.name for param in worker.params}
    worker.params.extend(
        # The program `celery` does this, but it is not always the calling program.
        option
        for kind in ("preload", "worker")
        for option in app.user_options.get(kind, ())
        if option.name not in known
    )
    status = worker.main(
        _arguments(options),
        prog_name="laraq work",
        standalone_mode=False,
        obj=CLIContext(app=app, no_color=options.no_color, workdir=None, quiet=True),  # no banner
        auto_envvar_prefix="CELERY_WORKER",
    )
    return int(status or 0)


def _arguments(options: WorkOptions) -> list[str]:
    """The command line of `celery worker`."""
    # Several workers on one machine are the usual case; Celery requires different names.
    name = options.name or f"laraq-{os.getpid()}"
    arguments = [
        "--loglevel", options.loglevel,
        "--prefetch-multiplier", "1",
        "--hostname", name if "@" in name else f"{name}@%h",
    ]  # fmt: skip
    if options.queues:
        arguments += ["--queues", ",".join(options.queues)]
    elif options.connection is not None and options.address.get("queue"):
        arguments += ["--queues", options.address["queue"]]
    if options.concurrency is not None:
        arguments += ["--concurrency", options.concurrency]
    if options.pool is not None:
        arguments += ["--pool", options.pool]
    return [*arguments, *options.passed_on]


def _serve_in_order(app: Any) -> None:
    """Take from the first queue with a message, instead of from each in turn, on brokers that are polled.

    RabbitMQ pushes messages of all queues in its own order.
    """
    with app.connection_for_read() as connection:
        is_asked = connection.transport.driver_type == "redis"
    if is_asked:
        app.conf.broker_transport_options = {**app.conf.broker_transport_options, "queue_order_strategy": "priority"}


def _move_to(laraq: Laraq, app: Any, options: WorkOptions) -> None:
    """Let this process work on a named connection: messages come from there, and are released to it.

    Jobs that its jobs dispatch go where they went before: the app's own broker stays the default connection.
    """
    laraq.ready()  # finds the store by the app's own broker
    conf, settings = app.conf, laraq.settings
    home = {"url": conf.broker_write_url, "queue": conf.task_default_queue}
    own: dict[str, Any] = {}
    for name in (settings.default, *laraq.host.aliases()):
        configured = settings.connections.get(name, {})
        own[name] = {**home, **configured} if isinstance(configured, Mapping) else configured
    laraq.configure_connections(own)
    if url := options.address.get("url"):
        for variable in _BROKER_VARIABLES:
            os.environ.pop(variable, None)
        conf.broker_url = conf.broker_read_url = conf.broker_write_url = url
        conf.broker_transport_options = lease_options(
            url, conf.broker_transport_options, lease_of(options.address), settings.retry_after
        )
    if queue := options.address.get("queue"):
        conf.task_default_queue = queue
