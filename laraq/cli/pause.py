"""`laraq pause`: let the jobs of a queue wait."""

from __future__ import annotations

import click

from laraq import Queue
from laraq.cli.attached import attached
from laraq.facades import place_of


@click.command()
@click.argument("queue", required=False)
@click.option("--all", "everything", is_flag=True, help="All queues of all connections.")
@click.option(
    "--for", "seconds", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Go on after that time."
)
@click.pass_context
def pause(context: click.Context, queue: str | None, everything: bool, seconds: float | None) -> None:
    """Let the jobs of QUEUE wait, or of the default queue: "high", or "connection:high".

    Workers obey within about a second, also those that start later. Running jobs go on, and jobs can be sent.
    """
    if everything and queue:
        raise click.UsageError("--all pauses all queues; it cannot be combined with one.", context)
    with attached(context):
        if everything:
            Queue.pause_all(seconds)
        else:
            Queue.pause(queue, seconds)
        name = "all queues" if everything else ":".join(place_of(queue))
    click.echo(f"Paused: {name}" + (f", for {seconds:g} s" if seconds else ""))
