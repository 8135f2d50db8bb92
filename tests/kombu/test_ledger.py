from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import pytest

from laraq_kombu import ACK_LINGER, BATCH, Lease, Ledger


class Clock:
    """Time that moves when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger(clock=clock)


def lease(id: int) -> Lease:
    return Lease(id, "q", 1, 7)


def test_tags_differ_between_reservations_of_one_job() -> None:
    tags = {Lease(1, "q", attempts, at).tag for attempts in (1, 2) for at in (10, 11)}
    assert len(tags) == 4


def test_a_settled_lease_is_owed_once(ledger: Ledger) -> None:
    ledger.hold([lease(1)])
    assert ledger.settle(lease(1).tag)
    assert not ledger.settle(lease(1).tag)
    assert ledger.collect() == [lease(1)]
    assert ledger.collect() == []


def test_what_is_held_and_what_is_owed_is_renewed(ledger: Ledger) -> None:
    ledger.hold([lease(1), lease(2), lease(3)])
    ledger.settle(lease(2).tag)
    assert ledger.drop(lease(3).tag) == lease(3)
    assert sorted(ledger.renewable()) == [lease(1), lease(2)]
    assert ledger.drop(lease(3).tag) is None


def test_acknowledgements_wait_for_company_but_not_long(ledger: Ledger, clock: Clock) -> None:
    assert ledger.flush_in(clock.now) is None
    ledger.hold([lease(1), lease(2)])
    ledger.settle(lease(1).tag)
    assert ledger.flush_in(clock.now) == pytest.approx(ACK_LINGER)
    clock.now += ACK_LINGER / 2
    ledger.settle(lease(2).tag)
    assert ledger.flush_in(clock.now) == pytest.approx(ACK_LINGER / 2)
    clock.now += ACK_LINGER
    assert ledger.flush_in(clock.now) == 0


def test_a_full_batch_does_not_wait(ledger: Ledger, clock: Clock) -> None:
    ledger.hold(lease(id) for id in range(BATCH + 1))
    for id in range(BATCH + 1):
        ledger.settle(lease(id).tag)
    assert ledger.flush_in(clock.now) == 0
    assert ledger.collect() == [lease(id) for id in range(BATCH)]
    assert ledger.flush_in(clock.now) == pytest.approx(ACK_LINGER)


def test_acknowledgements_that_could_not_be_sent_are_owed_again_in_order(ledger: Ledger) -> None:
    ledger.hold(lease(id) for id in range(3))
    for id in range(3):
        ledger.settle(lease(id).tag)
    ledger.repay(ledger.collect(2))
    assert ledger.collect() == [lease(0), lease(1), lease(2)]


def test_a_lease_older_than_allowed_is_not_renewed(clock: Clock) -> None:
    ledger = Ledger(max_lease=60, clock=clock)
    ledger.hold([lease(1)])
    clock.now += 50
    ledger.hold([lease(2)])
    clock.now += 20
    assert ledger.renewable() == [lease(2)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_holds_none_of_its_parents_leases(ledger: Ledger) -> None:
    ledger.hold([lease(1), lease(2)])
    ledger.settle(lease(2).tag)
    assert _in_child(lambda: (len(ledger), ledger.renewable()) == (0, []))
    assert len(ledger) == 2


def _in_child(check: Callable[[], bool]) -> bool:
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if check() else 1
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def test_a_lease_is_open_until_its_acknowledgement_is_known_to_be_out(ledger: Ledger) -> None:
    ledger.hold([lease(1), lease(2)])
    ledger.settle(lease(1).tag)
    sent = ledger.collect()
    assert [ledger.is_open(lease(id).tag) for id in (1, 2, 3)] == [True, True, False]
    ledger.repay(sent)
    assert ledger.is_open(lease(1).tag)
    ledger.paid(ledger.collect())
    assert [ledger.is_open(lease(id).tag) for id in (1, 2)] == [False, True]
    ledger.drop(lease(2).tag)
    assert not ledger.is_open(lease(2).tag)
