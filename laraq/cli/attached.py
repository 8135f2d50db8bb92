"""attached(): the Laraq that a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from laraq.cli.group import APP
from laraq.cli.host import host_commands
from laraq.current import current
from laraq.errors import ConfigurationError

if TYPE_CHECKING:
    from laraq.app import Laraq


@contextmanager
def attached(context: click.Context) -> Iterator[Laraq]:
    """Find the Laraq by `-A` or by the app of the `celery` program, or build the embedded default; make it current.

    Raises UsageError.
    """
    app = context.meta.get(APP)
    try:
        if app is None:
            found = current()
        elif isinstance(app, str):
            found = host_commands().load(app)
        else:
            found = host_commands().attached(app)
    except ConfigurationError as error:
        raise click.UsageError(str(error), context) from error
    found.implied = False  # a command without -A uses the embedded default on purpose
    with found:
        yield found
