"""`laraq parked`: the jobs that wait for a lock or for limits."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import click

from laraq.cli import output
from laraq.cli.attached import attached
from laraq.cli.fitting import Column
from laraq.cli.jobs import LIMIT, moment
from laraq.cli.queue_facts import parked_jobs, shown_name
from laraq.ports import Line

#: Columns of the list.
COLUMNS = (
    Column("ID", whole=True),
    Column("Job", from_left=True),
    Column("Waits for"),
    Column("Queue", optional=True),
    Column("Created at (UTC)", whole=True, optional=True),
)


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="Most jobs to list.")
@click.option("--wide", is_flag=True, help="Do not shorten columns to the width of the terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def parked(context: click.Context, limit: int, wide: bool, as_json: bool) -> None:
    """List the jobs that wait in the store for a lock or for limits, line by line, the next of each first."""
    with attached(context) as laraq:
        found = list(islice(parked_jobs(laraq), limit))
    if as_json:
        output.as_json(
            [
                {
                    "id": payload.id,
                    "job": shown_name(payload),
                    "connection": connection,
                    "queue": queue,
                    "lock": line.lock,
                    "limits": list(line.limits),
                    "attempts": payload.attempts,
                    "created_at": None if (at := _created(payload.created_at)) is None else at.isoformat(),
                }
                for (connection, queue), (line, payload) in found
            ]
        )
    elif found:
        rows = [
            (payload.id, shown_name(payload), _obstacle(line), ":".join(place), moment(_created(payload.created_at)))
            for place, (line, payload) in found
        ]
        output.table(COLUMNS, rows, wide=wide)
    else:
        click.echo("No jobs are parked.")


def _obstacle(line: Line) -> str:
    return f"lock {line.lock}" if line.lock is not None else f"limit {', '.join(line.limits)}"


def _created(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
