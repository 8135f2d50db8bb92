"""The verbs of a chain that is not sent yet."""

from __future__ import annotations

import asyncio

from laraq import Bus, Laraq, current
from laraq.errors import JobDefinitionError, LaraqError
from tests.support.line import Line
from tests.workflow.chains.jobs import Note, log


def test_with_chain_on_the_class_takes_the_fields_at_the_dispatch(line: Line) -> None:
    Note.with_chain([Note(2), Note(3)]).all_on_queue("q").dispatch(1)
    line.work()
    assert log == [1, 2, 3]
    assert {payload.queue for payload in line.taken} == {"q"}


def test_with_chain_on_an_instance_gives_the_instance_back(line: Line) -> None:
    Note(1).with_chain([Note(2)]).on_queue("head").dispatch()
    Note(3).on_queue("x").with_chain([Note(4)]).all_on_queue("q").all_on_connection("other").dispatch()
    line.work()
    assert log == [1, 3, 2, 4]
    assert [(payload.queue, payload.connection) for payload in line.taken] == [
        ("head", None),
        ("q", "other"),
        (None, None),
        ("q", "other"),
    ]


def test_jobs_can_be_put_before_and_behind(line: Line) -> None:
    Bus.chain([Note(3)]).prepend(Note(2)).prepend([Note(0), Note(1)]).append(Note(4)).append([Note(5), None]).dispatch()
    line.work()
    assert log == [0, 1, 2, 3, 4, 5]


def test_a_chain_is_sent_or_changed_under_a_condition(line: Line) -> None:
    pending = Bus.chain([Note(1)]).when(True, lambda it: it.append(Note(2))).when(0, lambda it: it.append(Note(3)))
    pending.unless(False, lambda it: it.append(Note(4))).unless("x", lambda it: it.append(Note(5)))
    assert pending.dispatch_if(False) is None
    assert pending.dispatch_unless(True) is None
    assert line.taken == []
    assert pending.dispatch_if(True) is not None
    line.work()
    assert log == [1, 2, 4]
    assert Note.with_chain([Note(2)]).dispatch_unless(False, n=1) is not None


def test_a_chain_is_sent_from_a_coroutine(line: Line) -> None:
    sent = asyncio.run(Note.with_chain([Note(2)]).adispatch(1))
    assert line.taken[0].id == sent.id
    line.work()
    assert log == [1, 2]


def test_a_pending_chain_can_be_sent_twice_as_two_chains(line: Line) -> None:
    pending = Bus.chain([Note(1), Note(2)])
    assert pending.dispatch().id != pending.dispatch().id
    line.work()
    assert log == [1, 1, 2, 2]
    assert len({payload.id for payload in line.taken}) == 4


def test_the_jobs_given_stay_as_they_are(line: Line) -> None:
    first = Note(1)
    Bus.chain([first, Note(2)]).on_queue("q").with_delay(5).dispatch()
    first.dispatch()
    assert (line.taken[1].queue, line.taken[1].chain, line.waiting[1][1]) == (None, {}, 0)


def test_chain_verbs_belong_to_the_current_laraq(line: Line) -> None:
    assert isinstance(current(), Laraq)
    assert issubclass(JobDefinitionError, LaraqError)
    pending = Note.with_chain([Note(2)])
    with Line.attached() as other:
        pending.dispatch(1)
        assert (len(line.taken), len(other.taken)) == (0, 1)
