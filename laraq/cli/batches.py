"""`laraq batches`: list the batches, show one, or watch them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import click

from laraq.cli import output
from laraq.cli.attached import attached
from laraq.cli.fitting import Column
from laraq.messages.tally import BatchQuery
from laraq.workflow.batch import Batch

#: Seconds between two polls of --watch.
GLANCE = 0.5

#: Columns of the list.
COLUMNS = (
    Column("ID", whole=True),
    Column("Name"),
    Column("Status"),
    Column("Progress", optional=True),
    Column("Jobs", whole=True),
    Column("Failed", whole=True),
    Column("Created at (UTC)", whole=True, optional=True),
)

#: Batches shown by default.
LIMIT = 50


@click.command()
@click.argument("id", required=False)
@click.option("--unfinished", is_flag=True, help="Only unfinished batches.")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="Most batches to list.")
@click.option("--watch", is_flag=True, help="Show progress bars until the batches shown are finished.")
@click.option("--wide", is_flag=True, help="Do not shorten columns to the width of the terminal.")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def batches(
    context: click.Context, id: str | None, unfinished: bool, limit: int, watch: bool, wide: bool, as_json: bool
) -> None:
    """List the batches, the newest first, or show one.

    With --watch, unfinished batches are drawn as progress bars until they are finished; exit status 1 when one of
    their jobs failed.
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other.", context)
    with attached(context) as laraq:
        if id is not None:
            found = laraq.batches.find(id)
            if found is None:
                raise click.ClickException(f"No batch has the id {id}.")
            chosen = [found]
        else:
            only = False if unfinished or watch else None
            chosen = laraq.batches.all(BatchQuery(finished=only, limit=limit))
        if watch:
            if any(batch.has_failures for batch in _watch(chosen, laraq.batches.find)):
                context.exit(1)
        elif as_json:
            output.as_json([_whole(batch) for batch in chosen] if id is None else _whole(chosen[0]))
        elif id is not None:
            _show(chosen[0])
        else:
            _list(chosen, wide)


def status(batch: Batch) -> str:
    """The status of a batch in one word."""
    if batch.finished_at is not None:
        return "cancelled" if batch.cancelled else "finished"
    return "cancelling" if batch.cancelled else "running"


def _whole(batch: Batch) -> dict[str, object]:
    return {**batch.to_dict(), "status": status(batch), "failed_job_ids": batch.failed_job_ids}


def _list(chosen: Sequence[Batch], wide: bool = False) -> None:
    if not chosen:
        click.echo("No batches.")
        return
    rows = [
        (
            batch.id,
            batch.name,
            status(batch),
            f"{batch.progress} %",
            f"{batch.processed_jobs} of {batch.total_jobs}",
            str(batch.failed_jobs),
            _moment(batch.created_at),
        )
        for batch in chosen
    ]
    output.table(COLUMNS, rows, wide=wide)


def _show(batch: Batch) -> None:
    failed = batch.failed_job_ids
    output.record(
        {
            "ID": batch.id,
            **({"Name": batch.name} if batch.name else {}),
            "Status": status(batch),
            "Jobs": f"{batch.processed_jobs} of {batch.total_jobs} succeeded ({batch.progress} %)",
            "Failed": str(batch.failed_jobs),
            "Created at": _moment(batch.created_at),
            **({"Cancelled at": _moment(batch.cancelled_at)} if batch.cancelled_at else {}),
            **({"Finished at": _moment(batch.finished_at)} if batch.finished_at else {}),
            **({"Failed jobs": "\n".join(failed)} if failed else {}),
        }
    )


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _watch(chosen: Sequence[Batch], look: Callable[[str], Batch | None]) -> list[Batch]:
    """Draw until all are finished or gone; in a pipe, print the state of each when it is finished."""
    from laraq.workflow.progress_bar import ProgressBars

    watched = {batch.id: batch for batch in chosen}
    if not watched:
        click.echo("No batch is running.")
        return []
        return []
    open_ids = set(watched)
    with ProgressBars(sys.stdout) as bars:
        while open_ids:
            for id in sorted(open_ids):
                batch = look(id)
                if batch is not None:
                    watched[id] = batch
                    batch.draw(bars)
                if batch is None or batch.finished_at is not None:
                    open_ids.discard(id)
            if open_ids:
                time.sleep(GLANCE)
    if not sys.stdout.isatty():
        _list(list(watched.values()))
    return list(watched.values())
