"""Jobs of a shop, for the tests of fakes."""

from __future__ import annotations

from typing import Any

from laraq import Batch, Job, job

ran: list[Any] = []


class Ship(Job):
    order_id: int
    express: bool = False

    def handle(self) -> None:
        ran.append(self.order_id)


class Bill(Job):
    order_id: int

    queue = "money"

    def handle(self) -> None:
        ran.append(f"bill {self.order_id}")


class Once(Job):
    key: str = "k"

    unique = True

    def handle(self) -> None:
        ran.append(self.key)


class Flaky(Job):
    succeeds_at: int

    tries = 3
    backoff = 10

    def handle(self) -> None:
        ran.append(self.attempts)
        if self.attempts < self.succeeds_at:
            raise ValueError(f"start {self.attempts}")


@job(queue="mails")
def welcome(user: str) -> None:
    ran.append(f"welcome {user}")


def then(batch: Batch) -> None:
    ran.append(f"then {batch.processed_jobs}/{batch.total_jobs}")


def finally_(batch: Batch) -> None:
    ran.append("finally")
