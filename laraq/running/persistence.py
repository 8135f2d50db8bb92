"""persistently(): what must be told to a store or broker that may be away for a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from laraq.errors import DispatchError, InvalidJobError, ModelNotIdentifiableError, StoreError, StoreRefusedError

logger = logging.getLogger("laraq.runner")

#: Seconds between tries: together as long as a restart of a server takes.
PAUSES = (0.1, 0.3, 1, 2, 4, 8, 15)


def is_outage(error: BaseException) -> bool:
    """Whether a store or broker is away: then waiting helps. What it refuses for good it will refuse again."""
    return isinstance(error, StoreError | DispatchError) and not isinstance(
        error, InvalidJobError | ModelNotIdentifiableError | StoreRefusedError
    )


def persistently(tell: Callable[[], None], what: object) -> None:
    """Call it until it succeeds, for half a minute; every step it consists of may be repeated.

    `what` names who is followed by it. Raises the last StoreError or DispatchError, and at once one that is no outage.
    """
    for pause in PAUSES:
        try:
            return tell()
        except (StoreError, DispatchError) as error:
            if not is_outage(error):
                raise
            logger.warning("The follow-up of %s is tried again in %s s: %s", what, pause, error)
            time.sleep(pause)
    return tell()
