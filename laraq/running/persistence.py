"""persistently(): repeats calls to a store or broker that may be down for a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from laraq.errors import DispatchError, InvalidJobError, ModelNotIdentifiableError, StoreError, StoreRefusedError

logger = logging.getLogger("laraq.runner")

#: Seconds between tries: their sum is about as long as a restart of a server.
PAUSES = (0.1, 0.3, 1, 2, 4, 8, 15)


def is_outage(error: BaseException) -> bool:
    """Whether a store or broker is down, so that waiting helps. A refusal would only be repeated."""
    return isinstance(error, StoreError | DispatchError) and not isinstance(
        error, InvalidJobError | ModelNotIdentifiableError | StoreRefusedError
    )


def persistently(notify: Callable[[], None], what: object) -> None:
    """Call `notify` until it succeeds, for half a minute; each of its steps must be repeatable.

    `what` names the job in the log. Raises the last StoreError or DispatchError, and at once one that is not an outage.
    """
    for pause in PAUSES:
        try:
            return notify()
        except (StoreError, DispatchError) as error:
            if not is_outage(error):
                raise
            logger.warning("The follow-up of %s is tried again in %s s: %s", what, pause, error)
            time.sleep(pause)
    return notify()
