"""`laraq queues`: the queues, what waits in them, and who works on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import click

from laraq.cli import output
from laraq.cli.attached import attached
from laraq.cli.fitting import Column
from laraq.cli.host import host_commands
from laraq.cli.queue_facts import UNKNOWN, QueueFacts, facts_of, known_places
from laraq.facades import place_of

#: Columns of the list.
COLUMNS = (
    Column("Queue"),
    Column("Pending", whole=True),
    Column("Delayed", whole=True),
    Column("Reserved", whole=True),
    Column("Parked", whole=True),
    Column("Oldest", whole=True, optional=True),
    Column("Workers", whole=True),
    Column("Paused", whole=True),
)


@click.command()
@click.argument("names", nargs=-1, metavar="[QUEUE]...")
@click.option("--wide", is_flag=True, help="Do not shorten columns to the width of the terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def queues(context: click.Context, names: tuple[str, ...], wide: bool, as_json: bool) -> None:
    """List queues of all connections: their jobs, for how long the oldest pending one waits, workers, and pauses.

    Without a QUEUE ("high", or "connection:high") those that are configured, worked on, named by a class or paused.
    What the broker cannot tell is a dash. Workers are asked, for two seconds; queues with jobs that no worker takes are
    named.
    """
    with attached(context) as laraq:
        host = host_commands()
        host.import_jobs(laraq)
        workers = host.workers(laraq)
        places = [place_of(name) for name in names] or known_places(laraq, host.queues(laraq), workers)
        found = []
        for facts in facts_of(laraq, places):
            known = workers.get(facts.connection)
            count = None if known is None else sum(facts.queue in worker.queues for worker in known)
            found.append(replace(facts, workers=count))
        down = laraq.maintenance.is_down()
    if as_json:
        output.as_json([facts.to_dict() for facts in found])
        return
    now = datetime.now(UTC)
    output.table(COLUMNS, [_row(facts, now) for facts in found], wide=wide)
    if down:
        click.echo("The application is down: only workers with --force take jobs.", err=True)
    for facts in found:
        if facts.is_forgotten and not down:
            click.echo(f"No worker takes the jobs of {facts.name}.", err=True)


def _row(facts: QueueFacts, now: datetime) -> tuple[str, ...]:
    return (
        facts.name,
        number(facts.pending),
        number(facts.delayed),
        number(facts.reserved),
        number(facts.parked),
        facts.age(now),
        number(facts.workers),
        facts.pause(),
    )


def number(count: int | None) -> str:
    """A count, or a dash for an unknown one."""
    return UNKNOWN if count is None else str(count)
