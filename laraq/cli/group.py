"""The group `laraq` and the program of that name. A command is imported when it or its help is called.

Celery imports this file at every call of `celery`, because it is a plugin of that program.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from laraq.errors import LaraqError, did_you_mean
from laraq.process.plugins import plugins

#: Key in `click.Context.meta`: the value of `-A`, the app of the calling program, or None for the embedded default.
APP = "laraq.app"

#: Every command and its module. The function has the command's name, with `_` for `-` and `:`.
COMMANDS = {
    "batches": "laraq.cli.batches",
    "clear": "laraq.cli.clear",
    "demo": "laraq.cli.demo",
    "doctor": "laraq.cli.doctor",
    "down": "laraq.cli.down",
    "failed": "laraq.cli.failed",
    "flush": "laraq.cli.flush",
    "forget": "laraq.cli.forget",
    "health": "laraq.cli.health",
    "jobs": "laraq.cli.jobs",
    "make": "laraq.cli.make",
    "migrate": "laraq.cli.migrate",
    "monitor": "laraq.cli.monitor",
    "parked": "laraq.cli.parked",
    "pause": "laraq.cli.pause",
    "prune-batches": "laraq.cli.prune_batches",
    "prune-failed": "laraq.cli.prune_failed",
    "queues": "laraq.cli.queues",
    "redis:restore": "laraq.cli.redis_restore",
    "restart": "laraq.cli.restart",
    "resume": "laraq.cli.resume",
    "retry": "laraq.cli.retry",
    "retry-batch": "laraq.cli.retry_batch",
    "unlock": "laraq.cli.unlock",
    "up": "laraq.cli.up",
    "work": "laraq.cli.work",
    "workers": "laraq.cli.workers",
}


class Commands(click.Group):
    """Loads commands late, and turns errors into one line and an exit status: 1 for a problem, 2 for wrong usage."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, for `--help`."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        function = cmd_name.replace("-", "_").replace(":", "_")
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a call, with a suggestion, which click before 8.4 does not make."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"No such command {args[0]!r}.{did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options that come before the command."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _without_help(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.ctx is None or error.option_name not in ("-A", "--app"):
                raise _without_help(error) from None
            program, _, command = error.ctx.command_path.partition(" ")
            raise click.UsageError(f"-A comes first: {program} -A shop {command}", error.ctx) from error
        except LaraqError as error:
            raise click.ClickException(str(error)) from error


def _without_help(error: click.NoSuchOption) -> click.NoSuchOption:
    """The error without the suggestion `--help`, which click finds similar to many mistyped options."""
    near = [known for known in error.possibilities or () if known != "--help"]
    return click.NoSuchOption(error.option_name, error.message, near, error.ctx)


@click.group(cls=Commands)
@click.option(
    "-A",
    "--app",
    envvar=["LARAQ_APP", "CELERY_APP"],
    show_envvar=True,
    metavar="MODULE[:ATTRIBUTE]",
    help="The Celery app, as Celery's own -A, or a module of jobs that has none. Default: the embedded default.",
)
@click.version_option(package_name="laraq")
@click.pass_context
def laraq(context: click.Context, app: str | None) -> None:
    """Run jobs, and manage queues, batches and failed jobs."""
    outer = getattr(context.obj, "app", None)
    explicit = context.get_parameter_source("app") is ParameterSource.COMMANDLINE
    context.meta[APP] = app if explicit or outer is None else outer


def main(arguments: Sequence[str] | None = None) -> None:
    """The program `laraq`."""
    for early in plugins("laraq.program_start"):
        # Before anything else is imported: gevent and eventlet replace parts of the standard library.
        early.load()()
    laraq.main(arguments, prog_name="laraq")
