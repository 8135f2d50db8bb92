"""Run: one delivery on its way through a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from laraq.messages.delivery import Delivery, Done, Superseded, Verdict
from laraq.messages.payload import Payload
from laraq.running.retries import RetryPolicy


@dataclass(slots=True)
class Run:
    """What `Runner.run` finds out about a delivery, and `Runner.settle` keeps the books of."""

    delivery: Delivery
    #: None when the message could not become a job.
    job: Any = None
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    verdict: Verdict = field(default_factory=Done)
    #: Whether `settle` had it wait in the store instead of its queue.
    parked: bool = False
    #: Whether another process tells its batch of the success (`BatchService.succeeded_together`).
    handed_over: bool = False
    #: By which exception of the host (`Host.control_flow`) the job ended its run.
    steering: BaseException | None = None
    #: The payload as the next start must see it.
    payload: Payload = field(init=False)

    def __post_init__(self) -> None:
        self.payload = self.delivery.payload

    @property
    def is_followed(self) -> bool:
        """Whether it succeeded and has a chain or batch, or its batch waits for it, as its message tells: what it added
        itself to its chain another start adds again."""
        payload = self.payload
        return (
            self.succeeded
            and bool(payload.chain or self.is_counted or payload.is_awaited)
            and payload.chain == self.delivery.payload.chain
        )

    @property
    def is_only_counted(self) -> bool:
        """Whether it succeeded, and all that follows is that its batch learns of it."""
        return self.is_counted and not self.payload.chain and not self.delivery.payload.chain

    @property
    def is_counted(self) -> bool:
        """Whether it succeeded and its batch counts it."""
        payload = self.payload
        return self.succeeded and payload.is_member

    @property
    def succeeded(self) -> bool:
        """Whether it did its work, or chose not to."""
        return isinstance(self.verdict, Done) and not isinstance(self.verdict, Superseded)
