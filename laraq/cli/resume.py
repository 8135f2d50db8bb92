"""`laraq resume`: let workers take the jobs of a paused queue again."""

from __future__ import annotations

import click

from laraq import Queue
from laraq.cli.attached import attached
from laraq.facades import place_of


@click.command()
@click.argument("queue", required=False)
@click.option("--all", "everything", is_flag=True, help="Undo `pause --all`.")
@click.pass_context
def resume(context: click.Context, queue: str | None, everything: bool) -> None:
    """Let workers take the jobs of QUEUE again, or of the default queue: "high", or "connection:high".

    Queues that were paused one by one stay paused with --all. Exit status 1 when it was not paused.
    """
    if everything and queue:
        raise click.UsageError("--all resumes all queues; it cannot be combined with one.", context)
    with attached(context) as laraq:
        was_paused = Queue.resume_all() if everything else Queue.resume(queue)
        name = "all queues" if everything else ":".join(place_of(queue))
        if everything:
            still = sorted(laraq.pauses.all())
        else:
            still = ["all queues"] if laraq.pauses.all_paused() else []
    if was_paused:
        click.echo(f"Resumed: {name}")
    else:
        click.echo(f"Error: Not paused: {name}.", err=True)
    if still:
        click.echo(f"Still paused: {', '.join(still)}", err=True)
    if not was_paused:
        context.exit(1)
