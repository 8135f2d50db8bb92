"""`laraq unlock`: release a unique lock explicitly."""

from __future__ import annotations

import click

from laraq.cli.attached import attached


@click.command()
@click.argument("job")
@click.argument("unique_id", required=False)
@click.pass_context
def unlock(context: click.Context, job: str, unique_id: str | None) -> None:
    """Release the unique lock of JOB, the dotted path or display name of a class, and UNIQUE_ID if the job has one.

    For a lock that has outlived its job. Exit status 1 when there is no such lock.
    """
    with attached(context) as laraq:
        freed = laraq.unique.unlock(job, unique_id)
    key = job if unique_id is None else f"{job} {unique_id}"
    if not freed:
        click.echo(f"Error: No unique lock of {key} is held.", err=True)
        context.exit(1)
    click.echo(f"Unlocked: {key}")
