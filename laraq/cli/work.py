"""`laraq work`: runs jobs. A thin front end of the host's worker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from laraq.cli.attached import attached
from laraq.cli.host import HostOption, WorkOptions, host_commands
from laraq.errors import ConnectionNotFoundError
from laraq.messages.options import WorkerOptions

if TYPE_CHECKING:
    from laraq.app import Laraq

#: Key in `click.Context.meta`: the options of the host's worker.
_PASSED_ON = "laraq.passed_on"

#: Connections that need no worker.
_LOCAL = ("sync", "null", "deferred")


def _seconds(context: click.Context, option: click.Parameter, value: str) -> float | list[float]:
    """Parse `--backoff`: one number, or several for the first, second, ... attempt."""
    try:
        waits = [float(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number of seconds nor a list such as 1,5,10.") from None
    if not all(0 <= wait < float("inf") for wait in waits):
        raise click.BadParameter(f"{value!r}: backoff must be 0 seconds or more.")
    return waits if len(waits) > 1 else waits[0]


class WorkCommand(click.Command):
    """A command that also accepts the options of the host's worker, and passes them on."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """laraq's options, then the host's options whose names differ from them."""
        own = super().get_params(ctx)
        taken = {name for param in own for name in param.opts}
        theirs = [option for option in host_commands().work_options() if taken.isdisjoint(option.names)]
        return [*own, *map(_passing_on, theirs)]


def _passing_on(option: HostOption) -> click.Option:
    typed = next(name for name in option.names if name.startswith("--"))

    def pass_on(context: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            passed_on = context.meta.setdefault(_PASSED_ON, [])
            passed_on.append(typed if option.is_flag else f"{typed}={value}")

    return click.Option(
        list(option.names),
        is_flag=option.is_flag,
        metavar=option.metavar,
        help=option.help,
        callback=pass_on,
        expose_value=False,
    )


@click.command(cls=WorkCommand)
@click.argument("connection", required=False)
@click.option(
    "-Q",
    "--queue",
    "--queues",
    "queue",
    metavar="A,B",
    default="",
    help="Queues to work on; earlier ones take precedence.",
)
@click.option("-c", "--concurrency", metavar="N|auto", help="Number of concurrent jobs.  [default: one per CPU]")
@click.option(
    "-P",
    "--pool",
    type=click.Choice(["prefork", "threads", "solo", "gevent", "eventlet", "processes", "custom"]),
    help="Concurrency model; only prefork can stop a job that hangs.  [default: the app's]",
)
@click.option("--once", is_flag=True, help="Stop after one job.")
@click.option("--stop-when-empty", is_flag=True, help="Stop when no job is left.")
@click.option(
    "--stop-when-empty-for",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="Stop when no job came for so long.",
)
@click.option("--max-jobs", type=click.IntRange(min=0), default=0, metavar="N", help="Stop after this many jobs.")
@click.option("--max-time", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help="Stop after that time.")
@click.option(
    "--memory",
    type=click.FloatRange(min=0),
    default=0,
    metavar="MB",
    help="Stop, with exit status 12, when a process of the worker uses so much memory.",
)
@click.option(
    "--tries",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Starts of a job that does not set tries itself; 0 means unlimited.",
)
@click.option(
    "--backoff",
    callback=_seconds,
    metavar="SECONDS",
    default="0",
    show_default=True,
    help="Seconds to wait before a retry of a job that does not set backoff itself; 1,5,10: the first, second and all"
    " later retries.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    help="Seconds a job may run that does not set a timeout itself; 0 means unlimited.",
)
@click.option("--force", is_flag=True, help="Take jobs even while the application is down (`laraq down`).")
@click.option("-n", "--name", "--hostname", "name", help="Name of the worker; must be unique on this machine.")
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
    default="WARNING",
    show_default=True,
    help="Level of the log messages beside the jobs.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also print the queue, connection, attempt and memory of each job.")
@click.option("--json", "as_json", is_flag=True, help="Print the jobs as JSON, an object per line.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print the jobs that run.")
@click.pass_context
def work(
    context: click.Context,
    connection: str | None,
    queue: str,
    concurrency: str | None,
    pool: str | None,
    once: bool,
    stop_when_empty: bool,
    stop_when_empty_for: float,
    max_jobs: int,
    max_time: float,
    memory: float,
    tries: int,
    backoff: float | list[float],
    timeout: float,
    force: bool,
    name: str | None,
    loglevel: str,
    verbose: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run jobs.

    Runs jobs of CONNECTION, or of the app's own broker, until the worker is stopped: a Celery worker with Laravel's
    options, which prints when each job starts and how it ends. Celery's own options are passed on to it.
    """
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet exclude each other.", context)
    if as_json and quiet:
        raise click.UsageError("--json and --quiet exclude each other.", context)
    with attached(context) as laraq:
        address = _address(laraq, connection)
        laraq.worker = WorkerOptions(tries, backoff, timeout, connection=connection if address else None)
        options = WorkOptions(
            connection=connection if address else None,
            address=address,
            queues=tuple(dict.fromkeys(part.strip() for part in queue.split(",") if part.strip())),
            concurrency=concurrency or ("1" if once else None),
            pool=pool,
            name=name,
            loglevel=loglevel,
            verbose=verbose,
            quiet=quiet or getattr(context.obj, "quiet", False),
            no_color=bool(os.environ.get("NO_COLOR")) or getattr(context.obj, "no_color", False),
            max_jobs=1 if once else max_jobs,
            stop_when_empty=stop_when_empty,
            stop_when_empty_for=stop_when_empty_for,
            max_time=max_time,
            memory=memory,
            force=force,
            as_json=as_json,
            passed_on=tuple(context.meta.get(_PASSED_ON, ())),
        )
        context.exit(host_commands().work(laraq, options))


def _address(laraq: Laraq, name: str | None) -> Mapping[str, Any]:
    """The configuration of a named connection; empty for the app's own broker, under any of its names.

    Raises BadParameter.
    """
    configured = laraq.settings.connections
    own = {laraq.settings.default, *laraq.host.aliases()}
    if name is None or (name in own and name not in configured):
        return {}
    if name in configured:
        config = {"url": configured[name]} if isinstance(configured[name], str) else configured[name]
        driver = config.get("driver") if isinstance(config, Mapping) else type(config).__name__
        if driver in (None, "celery"):
            return dict(config)
        reason = f"{name!r} is {driver}: work on the connections to which it sends jobs."
    elif name in _LOCAL:
        reason = f"{name!r} needs no worker: its jobs never wait in a queue."
    else:
        reason = str(ConnectionNotFoundError(name, {*configured, *own}))
    raise click.BadParameter(reason, param_hint="CONNECTION")
