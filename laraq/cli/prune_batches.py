"""`laraq prune-batches`: forget old batches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from laraq.cli.attached import attached


@click.command("prune-batches")
@click.option(
    "--hours",
    type=click.FloatRange(min=0),
    default=24,
    show_default=True,
    help="Batches that finished more than this many hours ago.",
)
@click.option(
    "--unfinished",
    type=click.FloatRange(min=0),
    metavar="HOURS",
    help="Also unfinished batches created more than this many hours ago.",
)
@click.option(
    "--cancelled",
    type=click.FloatRange(min=0),
    metavar="HOURS",
    help="Also cancelled batches created more than this many hours ago.",
)
@click.pass_context
def prune_batches(context: click.Context, hours: float, unfinished: float | None, cancelled: float | None) -> None:
    """Forget batches that finished more than a day ago, or more than --hours ago."""

    def ago(hours: float | None) -> datetime | None:
        return None if hours is None else datetime.now(UTC) - timedelta(hours=hours)

    with attached(context) as laraq:
        finished = ago(hours)
        assert finished is not None
        pruned = laraq.batches.prune(finished, ago(unfinished), ago(cancelled))
    click.echo(f"Dropped {pruned} batch{'es' * (pruned != 1)}.")
