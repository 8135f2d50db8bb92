"""`laraq migrate`: bring the schema of the store up to date."""

from __future__ import annotations

import click

from laraq.cli.attached import attached


@click.command()
@click.option("--sql", is_flag=True, help="Print the SQL of the schema and change nothing.")
@click.option("--adopt", is_flag=True, help="Also take over what Redis holds without laraq_prefix.")
@click.pass_context
def migrate(context: click.Context, sql: bool, adopt: bool) -> None:
    """Bring the tables up to date.

    Run it after every upgrade of laraq, or as often as you like.
    """
    with attached(context) as laraq:
        if sql:
            migration_sql = getattr(laraq.store, "migration_sql", None)
            if migration_sql is None:
                raise click.ClickException(f"{laraq.store.label} has no schema: there is no SQL to print.")
            click.echo(migration_sql())
            return
        steps = laraq.migrate()
        if adopt:
            steps.append(f"{laraq.adopt()} keys taken over")
        for step in steps:
            click.echo(step)
        if not steps:
            click.echo(f"{laraq.store.label} is up to date.")
