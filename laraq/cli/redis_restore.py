"""`laraq redis:restore`: before stock workers take over the queues of a `laraq-redis://` broker."""

from __future__ import annotations

import sys

import click

from laraq.cli.attached import attached
from laraq.cli.fitting import Column
from laraq.cli.output import table
from laraq.errors import ConfigurationError


@click.command("redis:restore")
@click.argument("connection", required=False)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Only this queue; can be repeated.")
@click.option("--force", is_flag=True, help="Do not ask.")
@click.pass_context
def redis_restore(context: click.Context, connection: str | None, queues: tuple[str, ...], force: bool) -> None:
    """Put delayed and reserved jobs on the lists that workers on redis:// read.

    Stop the workers on laraq-redis:// first: a job that one of them runs would run twice.
    """
    with attached(context) as laraq:
        restore = getattr(getattr(laraq.connection(connection), "inspection", None), "restore", None)
        if restore is None:
            raise ConfigurationError(f"Connection {connection!r} has no broker.")
        if not force and sys.stdin.isatty():
            click.confirm("Have the workers on laraq-redis:// been stopped?", abort=True)
        restored = restore(queues)
    if restored:
        table([Column(name) for name in ("queue", "delayed", "reserved")], [tuple(map(str, row)) for row in restored])
    else:
        click.echo("There was nothing to put back.")
