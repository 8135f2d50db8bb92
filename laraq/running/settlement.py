"""Settlement: what the books of a run are, decided before the first of them is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

from laraq.messages.delivery import Done, Fail, Obstacle, Release, Superseded, Verdict
from laraq.running.run import Run


@dataclass(frozen=True, slots=True)
class Settlement:
    """`Books.settle` carries it out, and returns what it came to."""

    run: Run
    verdict: Verdict
    #: Whether the run journal learns that the job succeeded before what follows is notified.
    noted: bool = False
    #: Whether another process notifies its batch of the success (`BatchService.succeeded_together`).
    handed_over: bool = False
    #: What it waits for in the store, instead of in its queue.
    parked: Obstacle | None = None

    @property
    def counted(self) -> bool:
        """Whether its batch counts it as done."""
        return succeeded(self.verdict) and self.run.payload.is_member

    def failing(self, error: BaseException) -> Settlement:
        """The same run, which fails after all: what follows it can never be sent."""
        return Settlement(self.run, Fail(error))

    def released(self) -> Settlement:
        """The same run, whose job goes back to its queue: the store could not take it."""
        return replace(self, parked=None)


def settlement(
    run: Run, *, journalled: bool = False, can_hand_over: bool = False, can_park: bool = False, counts_at_once: bool
) -> Settlement:
    """Decide it. Nothing here depends on who listens to events.

    `journalled`: whether the run was noted when it began. `can_hand_over`, `can_park`: what the host offers.
    `counts_at_once`: whether the batch takes the success in without waiting for others (`Batches.settles_at_once`),
    which is then as good a note as one in the journal.
    """
    verdict = run.verdict
    if isinstance(verdict, Release):
        return Settlement(run, verdict, parked=verdict.obstacle if can_park else None)
    if not (journalled and succeeded(verdict)):
        return Settlement(run, verdict)
    payload, chain = run.payload, run.payload.chain
    if can_hand_over and payload.is_member and not chain and not run.delivery.payload.chain and run.steering is None:
        return Settlement(run, verdict, handed_over=True)
    # What a job has added to its chain itself, another start adds again.
    followed = bool(chain or payload.is_member or payload.is_awaited) and chain == run.delivery.payload.chain
    told_by_batch = payload.is_member and not chain and counts_at_once
    return Settlement(run, verdict, noted=followed and not told_by_batch)


def succeeded(verdict: Verdict) -> bool:
    """Whether the job did its work, or chose not to."""
    return isinstance(verdict, Done) and not isinstance(verdict, Superseded)
