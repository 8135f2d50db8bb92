"""attached(): the Laraq that a command is about."""

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
    """Find it by `-A`, by the app of the `celery` call around us, or build the embedded default; it is current then.

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
    found.implied = False  # who runs a command without an app means it
    with found:
        yield found
