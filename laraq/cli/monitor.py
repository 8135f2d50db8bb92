"""`laraq monitor`: is a queue too long?"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from laraq import Events, events
from laraq.cli import output
from laraq.cli.attached import attached
from laraq.cli.fitting import Column
from laraq.cli.queue_facts import facts_of
from laraq.cli.queues import number
from laraq.facades import place_of

#: Columns of the list.
COLUMNS = (
    Column("Queue"),
    Column("Status", whole=True),
    Column("Size", whole=True),
    Column("Pending", whole=True),
    Column("Delayed", whole=True),
    Column("Reserved", whole=True),
    Column("Oldest", whole=True, optional=True),
)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="QUEUE[,QUEUE]...")
@click.option("--max", "most", type=click.IntRange(min=1), default=1000, show_default=True, help="A size that is busy.")
@click.option("--wide", is_flag=True, help="Do not shorten columns to the width of the terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def monitor(context: click.Context, names: tuple[str, ...], most: int, wide: bool, as_json: bool) -> None:
    """Check the sizes of queues: "high", or "connection:high".

    A queue with --max jobs or more, in the states that its broker can count, is busy: the event QueueBusy fires, and
    the exit status is 1. Made for a schedule.
    """
    chosen = dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip())
    with attached(context) as laraq:
        found = facts_of(laraq, [place_of(name) for name in chosen])
        busy = [facts for facts in found if facts.size >= most]
        for facts in busy:
            Events.emit(events.QueueBusy, facts.connection, facts.queue, facts.size)
    if as_json:
        output.as_json([{**facts.to_dict(), "size": facts.size, "busy": facts in busy} for facts in found])
    else:
        now = datetime.now(UTC)
        rows = [
            (
                facts.name,
                "BUSY" if facts in busy else "ok",
                str(facts.size),
                number(facts.pending),
                number(facts.delayed),
                number(facts.reserved),
                facts.age(now),
            )
            for facts in found
        ]
        output.table(COLUMNS, rows, wide=wide)
    if busy:
        context.exit(1)
