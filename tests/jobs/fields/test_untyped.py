"""Values without a type: an unannotated parameter keeps what `@app.task` keeps, wherever the job goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from kombu.utils import json as kombu_json
from pydantic import BaseModel

from laraq import Job, Laraq, job
from laraq.errors import PayloadError
from laraq.jobs.fields.untyped import Untyped
from laraq.messages.payload import Payload
from tests.support.project import Project

VALUES = {
    "moment": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "hour": time(1, 2, 3),
    "price": Decimal("1.10"),
    "id": UUID(int=7),
    "raw": b"\xff",
    "ascii": b"abc",
    "plain": [None, True, 1, 2.5, "x", {"a": []}],
}


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)


@job
def keep(values, more=None): ...  # type: ignore[no-untyped-def] # that is the point


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://") as queue:
        yield queue


def test_what_is_written_is_what_kombu_writes(queue: Laraq) -> None:
    fields = queue.codec.dump(keep.job(VALUES))
    assert json.loads(kombu_json.dumps({"values": VALUES, "more": None})) == fields
    assert Untyped().dump(VALUES) == fields["values"]
    assert Untyped().load(fields["values"]) == VALUES


def test_types_registered_with_kombu_travel(queue: Laraq) -> None:
    kombu_json.register_type(Point, "point", lambda point: [point.x, point.y], lambda parts: Point(*parts))
    try:
        fields = queue.codec.dump(keep.job([Point(1, 2)]))
        for read in (kombu_json.loads(kombu_json.dumps(fields)), json.loads(json.dumps(fields))):
            arrived: Any = queue.codec.load(keep.job_class, Payload("1", "keep", read))
            assert arrived.values == [Point(1, 2)]
    finally:
        kombu_json._encoders.pop(Point)
        kombu_json._decoders.pop("point")


class Visit(BaseModel):
    at: datetime
    with_: Any = None


class Books(Job):
    visit: Visit

    def handle(self) -> None: ...


def test_somebody_elses_moments_are_read_where_a_type_says_so(queue: Laraq) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    arrived: Any = queue.codec.load(Books, Payload("1", "x", {"visit": {"at": moment, "with_": "x"}}))
    assert arrived.visit == Visit(at=moment, with_="x")


def test_an_unknown_mark_is_refused(queue: Laraq) -> None:
    with pytest.raises(PayloadError, match="Celery's JSON"):
        queue.codec.load(keep.job_class, Payload("1", "x", {"values": {"__type__": "moon", "__value__": 1}}))


SOURCE = """
    import os
    from datetime import UTC, date, datetime
    from decimal import Decimal
    from uuid import UUID

    from celery import Celery
    from pydantic import SecretStr, field_validator

    from laraq import Bus, Job, Laraq, job
    from laraq_celery import LaraqTask

    app = Celery("proj", broker=os.environ["BROKER"])
    app.conf.task_default_queue = os.environ["QUEUE"]
    queue = Laraq(app, store=os.environ["STORE"], keys=["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="])
    VALUES = [datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), date(2026, 1, 2), Decimal("1.10"), UUID(int=7), b"abc", 1]

    @job
    def keep(label, values, type=None):
        print(f"{label} equal: {values == VALUES and [a.__class__ for a in values] == [b.__class__ for b in VALUES]}")

    @job
    def fails_once(values):
        print(f"failing {values == VALUES}")
        if not os.path.exists("failed"):
            open("failed", "w").close()
            raise ValueError("once")

    @app.task(base=LaraqTask)
    def task_fails_once(values):
        print(f"task {values == VALUES}")
        if not os.path.exists("task_failed"):
            open("task_failed", "w").close()
            raise ValueError("once")

    class Store(Job):
        number: SecretStr
        encrypted = True

        @field_validator("number")
        @classmethod
        def four(cls, number):
            assert len(number.get_secret_value()) == 4, "not four"
            return number

        def handle(self):
            print(f"revealed {self.number.get_secret_value() == '4111'}")
"""


def test_values_without_a_type_reach_a_worker_through_chains_batches_and_retries(
    tmp_path: Path, broker_url: str, queue_name: str, redis_url: str
) -> None:
    env = {"BROKER": broker_url, "QUEUE": queue_name, "STORE": redis_url}
    project = Project(tmp_path, {"proj.py": SOURCE}, env=env)
    project.python("""
        from proj import *
        keep.dispatch("sent", VALUES, type="x")
        keep.apply_async(("applied", VALUES))
        app.send_task("proj.keep", ("foreign", VALUES))
        batch = Bus.batch([keep.job("in a batch", VALUES)])
        Bus.chain([keep.job("first", VALUES), batch, keep.job("last", VALUES)]).dispatch()
        Store.dispatch("4111")
        fails_once.dispatch(VALUES)
        task_fails_once.delay(VALUES)
    """)
    with project.worker() as worker:
        for label in ("sent", "applied", "foreign", "first", "in a batch", "last"):
            worker.wait_for_log(f"{label} equal: True")
        worker.wait_for_log("revealed True")
        worker.wait_for_log("failing True")
        worker.wait_for_log("task True")
        project.python("""
            import time
            from proj import *
            deadline = time.monotonic() + 20
            while len(queue.failed.all()) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(queue.failed.retry("all")) == 2
        """)
        worker.wait_for_log("failing True", times=2)
        worker.wait_for_log("task True", times=2)
