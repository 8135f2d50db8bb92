"""Dispatching and routing"""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from laraq import Bus, Context, Events, Job, Laraq, Queue, closure, deferring, dispatch, events
from laraq.errors import ConfigurationError, InvalidJobError, ReleasedInSyncError
from laraq.messages.delivery import Done
from laraq.messages.payload import CIPHER
from tests.parity.conftest import Deliver

parity = pytest.mark.parity
log: list[Any] = []


class Store(Job):
    n: int = 0

    def handle(self) -> int:
        log.append(self.n)
        return self.n


class Breaks(Store):
    tries = 5

    def handle(self) -> int:
        raise ValueError("no")

    def failed(self, error: BaseException | None) -> None:
        log.append("failed()")


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


@parity(
    "`dispatch` has sent the job when it returns.",
    differs="Laravel sends in the destructor of what `dispatch` returned."
    " Python does not say when that runs, and it could not raise.",
)
def test_dispatch_sends(heard: list[str]) -> None:
    sent = Store(1).on_connection("nowhere").dispatch()
    assert heard == ["JobQueueing", "JobQueued"]
    assert sent.id


@parity("`dispatch_if` and `dispatch_unless` send by a condition.")
def test_dispatch_if() -> None:
    assert Store.dispatch_if(False, 1) is None
    assert Store.dispatch_unless(True, 1) is None


@parity("`prepare_for_dispatch` runs before the job is sent, and False cancels it silently.")
def test_prepare_for_dispatch(heard: list[str]) -> None:
    class Cancels(Store):
        def prepare_for_dispatch(self) -> bool:
            return False

    assert Cancels.dispatch().skipped
    assert heard == []


@parity("`Queue.route` sends the jobs of a class, its children, or the users of a mixin to a queue and connection.")
def test_route(queue: Laraq) -> None:
    Queue.route(Store, queue="stored", connection="nowhere")
    payload = queue.packer.payload(Breaks(), "1")
    assert (payload.queue, payload.connection) == ("stored", "nowhere")


@parity("The job's own setting wins over its route.")
def test_own_queue_wins(queue: Laraq) -> None:
    Queue.route(Store, queue="stored", connection="nowhere")
    payload = queue.packer.payload(Store().on_queue("mine"), "1")
    assert (payload.queue, payload.connection) == ("mine", "nowhere")


@parity("`Queue.forward` sends jobs for the old queue to another one.")
def test_forward(queue: Laraq) -> None:
    Queue.forward("old", "new")
    assert queue.packer.payload(Store().on_queue("old"), "1").queue == "new"


@parity("`Bus.bulk` sends many jobs at once; the delay of each is kept.")
def test_bulk() -> None:
    queued: list[events.JobQueued] = []
    with Events.listening(events.JobQueued, queued.append):
        Bus.bulk([Store(1).on_connection("nowhere"), Store(2).on_connection("nowhere").with_delay(5)])
    assert [event.delay for event in queued] == [0, 5]


@parity("Context travels with a job, and with the jobs that it sends.")
def test_context(deliver: Deliver) -> None:
    class Sees(Job):
        def handle(self) -> Any:
            return Context.get("request")

    with Context.scope():
        Context.add("request", "r-1")
        run = deliver(Sees())
    assert run.verdict == Done("r-1")


@parity("`dispatch_sync` runs the job at once with its middleware; the first exception fails it, whatever its `tries`.")
def test_sync_has_one_attempt(heard: list[str]) -> None:
    with pytest.raises(ValueError, match="no"):
        Breaks.dispatch_sync()
    assert log == ["failed()"]
    assert heard == ["JobProcessing", "JobExceptionOccurred", "JobFailed", "JobAttempted"]


@parity("A job that fails on `sync` is not put into the failed store.")
def test_sync_records_nothing(queue: Laraq) -> None:
    with pytest.raises(ValueError, match="no"):
        Breaks.dispatch_sync()
    assert not queue.failed.all()


@parity("A job on the `sync` connection fires the events of a run, but not those of the queue.")
def test_sync_events(heard: list[str]) -> None:
    Store(1).on_connection("sync").dispatch()
    assert heard == ["JobProcessing", "JobProcessed", "JobAttempted"]


@parity("`sync` ignores delays, and the queue it reports is `sync`.")
def test_sync_delay() -> None:
    found: list[events.JobProcessing] = []
    with Events.listening(events.JobProcessing, found.append):
        Store(1).on_connection("sync").with_delay(600).dispatch()
    assert [event.queue for event in found] == ["sync"]
    assert log == [1]


@parity(
    "A job that releases itself on `sync` raises ReleasedInSyncError.",
    differs="In Laravel the release is recorded and the job is lost.",
)
def test_sync_release() -> None:
    class Releases(Job):
        def handle(self) -> None:
            self.release(5)

    with pytest.raises(ReleasedInSyncError):
        Releases.dispatch_sync()


@parity("`dispatch_after_response` and the `deferred` connection run jobs in this process once the response is out.")
def test_deferred() -> None:
    with deferring():
        Store.dispatch_after_response(1)
        assert log == []
    assert log == [1]


@parity("Deferred jobs are dropped when the request failed.")
def test_deferred_after_an_error() -> None:
    with pytest.raises(KeyError), deferring():  # noqa: PT012 - what a block does is the point
        Store.dispatch_after_response(1)
        raise KeyError
    assert log == []


@parity("The `null` connection drops every job.")
def test_null() -> None:
    Store(1).on_connection("null").dispatch()
    assert log == []


@parity("An encrypted job shows its id and options, but not its fields.")
def test_encrypted(queue: Laraq, deliver: Deliver) -> None:
    class Charge(Store):
        encrypted = True

    payload = queue.packer.payload(Charge(4111), "1")
    assert list(payload.fields) == [CIPHER]
    assert "4111" not in repr(payload)
    assert deliver(payload).verdict == Done(4111)


@parity(
    "An encrypted job without `laraq_keys` is rejected.",
    differs="Laravel sends it in plain text when no encrypter is bound.",
)
def test_encrypted_without_keys() -> None:
    class Charge(Store):
        encrypted = True

    with (
        Laraq(Celery("u", broker="memory://", set_as_current=False), store="memory://"),
        pytest.raises(ConfigurationError),
    ):
        Charge(1).on_connection("null").dispatch()


def note(what: str) -> None:
    """Pickled by name, so that a closure writes into this module's log and not into a copy."""
    log.append(what)


@parity("A closure can be sent; its code is signed, and a changed one is not run.")
def test_closure(queue: Laraq, deliver: Deliver) -> None:
    payload = queue.packer.payload(closure(lambda: note("ran")), "1")
    deliver(payload)
    assert log == ["ran"]
    deliver(payload.with_(fields={**payload.fields, "signature": "AAAA"}))
    assert log == ["ran"]


def module_level() -> None:
    log.append("by name")


@parity(
    "A module-level function travels by name.",
    differs="PHP closures have no name; here the worker runs its own code of that name.",
)
def test_function_by_name(queue: Laraq, deliver: Deliver) -> None:
    made = closure(module_level)
    assert made.code is None
    deliver(made)
    assert log == ["by name"]


@parity("`.named(...)` names a closure, `.catch(...)` is called with the error when it failed.")
def test_closure_catch(deliver: Deliver) -> None:
    def fails() -> None:
        raise ValueError("no")

    made = closure(fails).named("Tidy up").catch(lambda error: note(str(error)))
    assert made.display_name == "Tidy up"
    deliver(made)
    assert log == ["no"]


@parity(
    "Fields of the wrong type are rejected when the job is sent, and nothing is sent.",
    differs="Laravel serializes whatever the properties hold.",
)
def test_validation(heard: list[str]) -> None:
    with pytest.raises(InvalidJobError):
        dispatch(Store("one").on_connection("nowhere"))  # type: ignore[arg-type] # that is the point
    assert heard == []
