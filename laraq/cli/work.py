"""`laraq work`: run jobs. A thin front of the host's own worker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from laraq.cli.attached import attached
from laraq.cli.host import WorkOptions, host_commands
from laraq.errors import ConnectionNotFoundError
from laraq.options import WorkerOptions

if TYPE_CHECKING:
    from laraq.app import Laraq

#: Connections whose jobs no worker takes.
_LOCAL = ("sync", "null", "deferred")


def _seconds(context: click.Context, option: click.Parameter, value: str) -> float | list[float]:
    """`--backoff`: one number, or several that stand for the first, second, ... attempt."""
    try:
        waits = [float(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number of seconds, nor several as in 1,5,10.") from None
    if not all(0 <= wait < float("inf") for wait in waits):
        raise click.BadParameter(f"{value!r}: a backoff is 0 seconds or more.")
    return waits if len(waits) > 1 else waits[0]


@click.command()
@click.argument("connection", required=False)
@click.option("--queue", metavar="A,B", default="", help="The queues to work on; the first goes first.")
@click.option("-c", "--concurrency", metavar="N|auto", help="Jobs at the same time.  [default: one per CPU]")
@click.option(
    "-P",
    "--pool",
    type=click.Choice(["prefork", "threads", "solo", "gevent", "eventlet", "processes", "custom"]),
    help="How they run beside each other; only prefork can stop a job that hangs.  [default: the app's]",
)
@click.option("--once", is_flag=True, help="Stop after one job.")
@click.option("--stop-when-empty", is_flag=True, help="Stop when no job is left.")
@click.option("--max-jobs", type=click.IntRange(min=0), default=0, metavar="N", help="Stop after so many jobs.")
@click.option(
    "--tries",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="How often a job that says nothing else is started; 0 is without limit.",
)
@click.option(
    "--backoff",
    callback=_seconds,
    metavar="SECONDS",
    default="0",
    show_default=True,
    help="Seconds such a job waits before it is started again; 1,5,10 for the first, second and any later time.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60,
    show_default=True,
    help="Seconds such a job may run; 0 is without limit.",
)
@click.option("--name", help="Name of the worker, which no other on this machine should have.")
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
    help="What is logged.  [default: INFO]",
)
@click.option("-v", "--verbose", is_flag=True, help="The same as --loglevel DEBUG.")
@click.option("-q", "--quiet", is_flag=True, help="No banner, and --loglevel WARNING.")
@click.pass_context
def work(
    context: click.Context,
    connection: str | None,
    queue: str,
    concurrency: str | None,
    pool: str | None,
    once: bool,
    stop_when_empty: bool,
    max_jobs: int,
    tries: int,
    backoff: float | list[float],
    timeout: float,
    name: str | None,
    loglevel: str | None,
    verbose: bool,
    quiet: bool,
) -> None:
    """Run jobs.

    Those of CONNECTION, or of the app's own broker, until the worker is told to stop: a Celery worker with Laravel's
    options.
    """
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet: give one of them.", context)
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
            loglevel=loglevel or ("DEBUG" if verbose else "WARNING" if quiet else "INFO"),
            quiet=quiet or getattr(context.obj, "quiet", False),
            no_color=bool(os.environ.get("NO_COLOR")) or getattr(context.obj, "no_color", False),
            max_jobs=1 if once else max_jobs,
            stop_when_empty=stop_when_empty,
        )
        context.exit(host_commands().work(laraq, options))


def _address(laraq: Laraq, name: str | None) -> Mapping[str, Any]:
    """A named connection as configured; empty for the app's own broker, under whichever of its names.

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
        reason = f"{name!r} is {driver}: work on the connections its jobs are sent to."
    elif name in _LOCAL:
        reason = f"{name!r} needs no worker: its jobs never wait in a queue."
    else:
        reason = str(ConnectionNotFoundError(name, {*configured, *own}))
    raise click.BadParameter(reason, param_hint="CONNECTION")
