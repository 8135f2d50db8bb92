"""`laraq jobs`: the jobs of a queue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from laraq.cli import output
from laraq.cli.attached import attached
from laraq.cli.fitting import Column
from laraq.cli.queue_facts import parked_jobs, shown_name
from laraq.errors import NotInspectableError
from laraq.facades import place_of
from laraq.messages.inspection import QueueState

if TYPE_CHECKING:
    from laraq.app import Laraq

#: Columns of the list.
COLUMNS = (
    Column("ID", whole=True),
    Column("State", whole=True),
    Column("Job", from_left=True),
    Column("Attempts", whole=True, optional=True),
    Column("Created at (UTC)", whole=True, optional=True),
)

#: Jobs listed by default.
LIMIT = 50

#: The state of a job that waits in the store for a lock or for limits.
PARKED = "parked"

#: The order of the list.
STATES = (QueueState.RESERVED, QueueState.PENDING, QueueState.DELAYED, PARKED)


class Listed(NamedTuple):
    """A job of the list."""

    id: str
    state: str
    job: str
    attempts: int
    created_at: datetime | None


@click.command()
@click.argument("queue", required=False)
@click.option("--state", "states", type=click.Choice(sorted(STATES)), multiple=True, help="Only jobs in this state.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="Most jobs to list.")
@click.option("--wide", is_flag=True, help="Do not shorten columns to the width of the terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def jobs(
    context: click.Context, queue: str | None, states: tuple[str, ...], limit: int, wide: bool, as_json: bool
) -> None:
    """List the jobs of QUEUE, or of the default queue: "high", or "connection:high". They stay in the queue.

    Reserved ones come first, then pending, delayed and parked ones, each in the order in which they are due. Exit
    status 1 when the broker cannot list a state that was asked for.
    """
    with attached(context) as laraq:
        place = place_of(queue)
        lacking: list[str] = []
        found: list[Listed] = []
        for state in states or STATES:
            try:
                found += islice(_listed(laraq, place, state, limit - len(found)), limit - len(found))
            except NotInspectableError as error:
                lacking.append(str(error))
    if as_json:
        output.as_json([_whole(job) for job in found])
    elif found:
        rows = [(job.id, job.state, job.job, str(job.attempts), moment(job.created_at)) for job in found]
        output.table(COLUMNS, rows, wide=wide)
    elif not lacking:
        click.echo("No jobs.")
    for reason in lacking:
        click.echo(f"Error: {reason}", err=True)
    if lacking:
        context.exit(1)


def moment(at: datetime | None) -> str:
    """A moment in a list; nothing for an unknown one."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _listed(laraq: Laraq, place: tuple[str, str], state: str, limit: int) -> Iterator[Listed]:
    connection, queue = place
    if state != PARKED:
        inspection: Any = getattr(laraq.connection(connection), "inspection")  # noqa: B009 # checked by `place_of`
        for job in inspection.jobs(queue, QueueState(state), limit) if limit else ():
            yield Listed(job.id, state, job.name, job.attempts, job.created_at)
        return
    for where, (_, payload) in parked_jobs(laraq):
        if where == place:
            created = None if payload.created_at is None else datetime.fromtimestamp(payload.created_at, UTC)
            yield Listed(payload.id, PARKED, shown_name(payload), payload.attempts, created)


def _whole(job: Listed) -> dict[str, Any]:
    return {**job._asdict(), "created_at": None if job.created_at is None else job.created_at.isoformat()}
