"""Discards: the books of jobs whose messages are dropped without a run, by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from laraq.current import Surroundings
from laraq.errors import JobDroppedError
from laraq.jobs import registry
from laraq.messages.payload import CIPHER, Payload
from laraq.ports import Line

if TYPE_CHECKING:
    from laraq.app import Laraq


class Discards:
    """Frees what dropped jobs held, and tells whom they belonged to. Those a worker has settle themselves."""

    def __init__(self, laraq: Laraq) -> None:
        self._laraq = laraq

    def tell(self, payloads: Sequence[Payload], detail: str, begun: Collection[str] = ()) -> None:
        """Keep the books of jobs that are about to be dropped; `detail` says why, as in "was cleared from its queue".

        `begun`: the ids of those that may have been started before, and so hold something through their middleware.
        May be repeated. Raises StoreError, DispatchError: then nothing may be dropped.
        """
        batched: dict[str, list[Payload]] = {}
        for payload in payloads:
            if payload.batch_id is not None and not payload.event:
                batched.setdefault(payload.batch_id, []).append(payload)
        for id, members in batched.items():
            discreet = any(CIPHER in member.fields for member in members)
            with Surroundings(self._laraq, members[0].context):
                self._laraq.batches.failed_together(id, members, _error(members[0], detail), discreet=discreet)
        for payload in payloads:
            if payload.chain or payload.unique or payload.parked or payload.id in begun or payload.is_awaited:
                with Surroundings(self._laraq, payload.context):
                    self._free(payload, detail, begun)

    def _free(self, payload: Payload, detail: str, begun: Collection[str]) -> None:
        if payload.is_awaited:
            self._laraq.batches.called(payload)
        if payload.chain:
            self._laraq.chains.stop(payload, _error(payload, detail), discreet=CIPHER in payload.fields)
        if payload.id in begun:
            self._laraq.runner.give_back(payload)
        if payload.unique:
            self._laraq.unique.give_up(payload.unique, registry.get(payload.job))
        for text in payload.parked:  # it was called, and the lock is kept free for it
            if (lock := Line.from_text(text).lock) is not None:
                self._laraq.parking.free(lock, payload.run_key)


def _error(payload: Payload, detail: str) -> JobDroppedError:
    return JobDroppedError(f"{payload.job} {detail}", job=payload.job, job_id=payload.id)
