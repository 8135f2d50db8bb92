"""`laraq doctor`: is anything set up so that it will go wrong?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from laraq.cli import output
from laraq.cli.attached import attached
from laraq.cli.host import Finding, host_commands
from laraq.cli.queue_facts import facts_of, known_places
from laraq.errors import LaraqError

if TYPE_CHECKING:
    from laraq.app import Laraq


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check the configuration, the broker, the store, the jobs and the running workers for known mistakes.

    Each finding names the setting that mends it. Exit status 1 when one is a problem; advice is none.
    """
    with attached(context) as laraq:
        host = host_commands()
        host.import_jobs(laraq)
        found = [*host.diagnose(laraq)]
        if not any(each.check in ("broker", "store") for each in found):
            found += _of_queues(laraq)
    problems = [each for each in found if not each.advice]
    if as_json:
        output.as_json([asdict(each) for each in found])
    else:
        for each in (*problems, *(each for each in found if each.advice)):
            click.echo(f"{'Advice' if each.advice else 'Problem'} ({each.check}): {each.says}")
            if each.mend:
                click.echo(f"    Mend it with: {each.mend}")
        if not found:
            click.echo("Nothing was found.")
    if problems:
        context.exit(1)


def _of_queues(laraq: Laraq) -> Iterator[Finding]:
    """Queues whose jobs nobody takes."""
    if laraq.maintenance.is_down():
        yield Finding("maintenance", "The application is down: workers take no jobs.", "laraq up", advice=True)
    if laraq.pauses.all_paused():
        yield Finding("paused", "All queues are paused.", "laraq resume --all", advice=True)
    for name in laraq.pauses.all():
        yield Finding("paused", f"Queue {name} is paused.", f"laraq resume {name}", advice=True)
    try:
        host = host_commands()
        workers = host.workers(laraq)
        for facts in facts_of(laraq, known_places(laraq, host.queues(laraq), workers)):
            known = workers.get(facts.connection)
            count = None if known is None else sum(facts.queue in worker.queues for worker in known)
            if replace(facts, workers=count).is_forgotten:
                yield Finding(
                    "workers",
                    f"Queue {facts.name} has pending jobs ({facts.pending}), and no worker takes them.",
                    f"laraq work {facts.connection} --queue {facts.queue}",
                )
    except LaraqError as error:
        yield Finding("queues", f"The queues could not be looked into: {error}", "")
