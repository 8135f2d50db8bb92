"""Hooks: code of the user's beside the job itself. What it raises is reported and stops nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


def ends_process(error: BaseException) -> bool:
    """Whether an error ends this process on purpose, and is nobody's answer to anything.

    A signal handler of a pool child exits with a negative status (billiard.pool: _shutdown_cleanup), and a host says
    with a SystemExit of its own class that its worker stops (celery.exceptions: WorkerShutdown). `sys.exit()` in a job
    is neither.
    """
    if not isinstance(error, SystemExit):
        return False
    return type(error) is not SystemExit or (isinstance(error.code, int) and error.code < 0)


@contextmanager
def reported(logger: logging.Logger, what: str, *args: object) -> Iterator[None]:
    """Log with its traceback whatever the block raises, as `what % args`; only the end of the process goes on."""
    try:
        yield
    except BaseException as error:
        if ends_process(error):
            raise
        logger.exception(what, *args)
