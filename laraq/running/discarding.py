"""Discards: settles jobs whose messages are dropped explicitly, without a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from laraq.errors import JobDroppedError
from laraq.jobs import registry
from laraq.messages.payload import CIPHER, Payload
from laraq.ports import Line
from laraq.running.parking import ParkingLot
from laraq.running.runner import Runner
from laraq.running.workplace import Workplace
from laraq.sending.unique import UniqueLocks
from laraq.workflow.batch_service import BatchService
from laraq.workflow.chains import Chains


class Discards:
    """Releases what dropped jobs held, and notifies their chains and batches. Workers settle their own jobs."""

    def __init__(
        self,
        workplace: Workplace,
        runner: Runner,
        unique: UniqueLocks,
        chains: Chains,
        batches: Callable[[], BatchService],
        parking: ParkingLot,
    ) -> None:
        self._workplace = workplace
        self._runner = runner
        self._unique = unique
        self._chains = chains
        self._batches = batches
        self._parking = parking

    def notify(self, payloads: Sequence[Payload], detail: str, begun: Collection[str] = ()) -> None:
        """Settle jobs that are about to be dropped; `detail` is the reason, as in "was cleared from its queue".

        `begun` are the ids of jobs that may have been started before, so their middleware may hold locks. May be
        repeated. Raises StoreError, DispatchError: then nothing must be dropped.
        """
        batched: dict[str, list[Payload]] = {}
        for payload in payloads:
            if payload.batch_id is not None and not payload.event:
                batched.setdefault(payload.batch_id, []).append(payload)
        for id, members in batched.items():
            discreet = any(CIPHER in member.fields for member in members)
            with self._workplace.around(members[0].context):
                self._batches().failed_together(id, members, _error(members[0], detail), discreet=discreet)
        for payload in payloads:
            if payload.chain or payload.unique or payload.parked or payload.id in begun or payload.is_awaited:
                with self._workplace.around(payload.context):
                    self._free(payload, detail, begun)

    def _free(self, payload: Payload, detail: str, begun: Collection[str]) -> None:
        if payload.is_awaited:
            self._batches().called(payload)
        if payload.chain:
            self._chains.stop(payload, _error(payload, detail), discreet=CIPHER in payload.fields)
        if payload.id in begun:
            self._runner.release_held(payload)
        if payload.unique:
            self._unique.give_up(payload.unique, registry.get(payload.job))
        for text in payload.parked:  # the job was woken, and the lock is reserved for it
            if (lock := Line.from_text(text).lock) is not None:
                self._parking.free(lock, payload.run_key)


def _error(payload: Payload, detail: str) -> JobDroppedError:
    return JobDroppedError(f"{payload.job} {detail}", job=payload.job, job_id=payload.id)
