"""`laraq health`: whether the worker of this machine is alive, by the file that it writes."""

from __future__ import annotations

import time

import click

from laraq.cli import output
from laraq.cli.attached import attached
from laraq.process.health import Health, lives


@click.command()
@click.option(
    "--file",
    "path",
    envvar="LARAQ_HEALTH_FILE",
    show_envvar=True,
    type=click.Path(dir_okay=False),
    help="The worker's health file.  [default: the app's laraq_health_file]",
)
@click.option(
    "--max-age",
    type=click.FloatRange(min=0, min_open=True),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="For how long something may be wrong.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
@click.pass_context
def health(context: click.Context, path: str | None, max_age: float, as_json: bool) -> None:
    """Say whether a worker on this machine is alive, for the probes of Docker and Kubernetes.

    Its event loop turns, the processes of its pool live, it is connected to its broker, and its store answers. The
    worker writes this to its health file once a second; nothing is asked. The exit status is 1 if something is wrong.
    A file that is named here or in the environment is read without importing the app.
    """
    if path is None:
        with attached(context) as laraq:
            path = laraq.settings.health_file
    if path is None:
        raise click.UsageError(
            "No health file is known: set LARAQ_HEALTH_FILE for the worker and for this command.", context
        )
    found, problems = _read(path, max_age)
    if as_json:
        output.as_json(
            {
                "healthy": not problems,
                "problems": problems,
                "worker": None if found is None else found.worker,
                "pid": None if found is None else found.pid,
                "state": None if found is None else found.state,
                "age": None if found is None else round(time.time() - found.at, 3),
            }
        )
    else:
        name = "Worker" if found is None else f"Worker {found.worker}"
        for problem in problems:
            click.echo(output.printable(f"{name}: {problem}"))
        if found is not None and not problems:
            click.echo(output.printable(f"{name} is {found.state}."))
    if problems:
        context.exit(1)


def _read(path: str, max_age: float) -> tuple[Health | None, list[str]]:
    try:
        found = Health.read(path)
    except FileNotFoundError:
        return None, [f"there is no {path}; it was not started with this laraq_health_file, or has not come that far"]
    except (OSError, ValueError) as error:
        return None, [f"{path} cannot be read: {error}"]
    return found, list(found.problems(now=time.time(), max_age=max_age, lives=lives(found.pid)))
