"""`laraq workers`: the workers, and what each runs now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from laraq.cli import output
from laraq.cli.attached import attached
from laraq.cli.fitting import Column
from laraq.cli.host import RunningWorker, host_commands
from laraq.cli.run_line import duration

#: Columns of the list.
COLUMNS = (
    Column("Worker"),
    Column("Queues", optional=True),
    Column("Runs", from_left=True),
    Column("For", whole=True),
    Column("ID", whole=True, optional=True),
)


@click.command()
@click.option("--wide", is_flag=True, help="Do not shorten columns to the width of the terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def workers(context: click.Context, wide: bool, as_json: bool) -> None:
    """List the workers that answer within a second, their queues, and the jobs and tasks that each runs now.

    A worker of the solo pool does not answer while it runs a job.
    """
    with attached(context) as laraq:
        by_connection = host_commands().workers(laraq)
    found: dict[int, tuple[str, RunningWorker]] = {}
    for name, known in by_connection.items():
        for worker in known or ():
            found.setdefault(id(worker), (name, worker))  # several connections may share a broker
    listed = sorted(found.values(), key=lambda each: each[1].name)
    if as_json:
        output.as_json([_whole(connection, worker) for connection, worker in listed])
    elif listed:
        now = datetime.now(UTC)
        output.table(COLUMNS, [row for _, worker in listed for row in _rows(worker, now)], wide=wide)
    else:
        click.echo("No worker answered.")
    for name, known in by_connection.items():
        if known is None:
            click.echo(f"The broker of {name!r} has no way to reach its workers.", err=True)


def _rows(worker: RunningWorker, now: datetime) -> Iterator[tuple[str, ...]]:
    names = worker.name, ", ".join(worker.queues)
    if not worker.runs:
        yield (*names, "", "", "")
    for run in worker.runs:
        seconds = None if run.since is None else max((now - run.since).total_seconds(), 0.0)
        yield (*names, run.job, "" if seconds is None else duration(seconds), run.id)


def _whole(connection: str, worker: RunningWorker) -> dict[str, object]:
    return {
        "name": worker.name,
        "connection": connection,
        "queues": list(worker.queues),
        "runs": [
            {"id": run.id, "job": run.job, "since": None if run.since is None else run.since.isoformat()}
            for run in worker.runs
        ],
    }
