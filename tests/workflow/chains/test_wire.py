"""What a message says of its chain."""

from __future__ import annotations

from typing import Any

from laraq import Bus
from laraq.messages.delivery import Delivery, Fail
from laraq.messages.payload import Payload
from tests.support.line import Line
from tests.workflow.chains.jobs import Note, log


def test_a_chain_of_yesterday_is_read(line: Line) -> None:
    """As version 1 writes it: only what differs from the defaults."""
    payload = Payload("h", Note.job_name(), {"n": 1}, chain={"rest": [_link("a", 2), _link("b", 3)]})
    line.run(payload)
    line.work()
    assert log == [1, 2, 3]
    assert [payload.id for payload in line.taken] == ["a", "b"]


def test_a_link_of_an_unknown_class_waits_for_the_deploy_and_the_chain_with_it(line: Line) -> None:
    unknown = {**_link("a", 2), "job": "shop.Unknown"}
    line.run(Payload("h", Note.job_name(), {"n": 1}, chain={"rest": [unknown, _link("b", 3)]}))
    [(payload, _)] = line.waiting
    run = line.laraq.runner.run(Delivery(payload, 1, "line", "line"))
    assert not isinstance(run.verdict, Fail)
    assert run.payload.chain["rest"] == [_link("b", 3)]


def _link(id: str, n: int) -> dict[str, Any]:
    return {"id": id, "job": Note.job_name(), "kwargs": {"n": n}, "laraq": {"v": 1}}


def test_an_empty_chain_leaves_no_trace_in_the_message(line: Line) -> None:
    Bus.chain([Note(1)]).dispatch()
    assert "chain" not in line.taken[0].to_header()
