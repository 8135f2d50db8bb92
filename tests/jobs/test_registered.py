"""Messages name only what the application registered, and naming imports nothing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from celery import Celery

from laraq import Bus, Job, Laraq, register
from laraq.errors import JobDefinitionError, PayloadError, UnknownMiddlewareError
from laraq.jobs import registry
from laraq.jobs.closures import CallQueuedClosure
from laraq.messages.delivery import Delivery, Done, Fail, Release
from laraq.messages.payload import Payload
from laraq.workflow.callbacks import CallQueuedCallback

calls: list[str] = []

#: A module of the application: it has a function, a middleware and a nested class, and no job.
TOOLS = """
from laraq import register
from tests.jobs.test_registered import calls

def wipe(): calls.append("wipe")
def _hidden(): calls.append("hidden")

class Evil:
    def handle(self, job, next):
        calls.append("evil")
        return next(job)

class Outer:
    class Evil(Evil): pass

@register
def fine(): calls.append("fine")

@register
class Fine(Evil): pass
"""


SCRIPT = """
class Here(Job):
    def handle(self): ...

def here(): calls.append("here")
"""


class Greets(Job):
    tries = 5

    def handle(self) -> str:
        calls.append("greets")
        return "hello"


def by_name() -> None:
    calls.append("by name")


@pytest.fixture
def queue() -> Iterator[Laraq]:
    calls.clear()
    with Laraq(Celery("t", broker="memory://", set_as_current=False), store="memory://") as queue:
        yield queue


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Name of an importable module that is not imported."""
    (tmp_path / "tools_of_the_app.py").write_text(TOOLS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "tools_of_the_app"
    sys.modules.pop("tools_of_the_app", None)


@pytest.fixture
def tools(module: str) -> ModuleType:
    __import__(module)
    return sys.modules[module]


def call(queue: Laraq, name: str) -> Any:
    return arrive(queue, Payload("1", CallQueuedClosure.job_name(), {"function": name}))


def through(queue: Laraq, name: str) -> Any:
    return arrive(queue, Payload("1", Greets.job_name(), through=({"class": name, "state": {}},)))


def arrive(queue: Laraq, payload: Payload) -> Any:
    run = queue.runner.run(Delivery(payload, 1, "default", "default"))
    queue.books.settle(run)
    return run.verdict


def refused(verdict: Any, text: str) -> None:
    assert isinstance(verdict, Fail)
    assert type(verdict.error) is PayloadError
    assert text in str(verdict.error)
    assert calls == []


@pytest.mark.parametrize("name", ["wipe", "_hidden", "Evil.handle"])
def test_a_name_imports_nothing(queue: Laraq, module: str, name: str) -> None:
    refused(call(queue, f"{module}.{name}"), "cannot be found by this worker")
    verdict = through(queue, f"{module}.Evil")
    assert isinstance(verdict, Release)
    assert isinstance(verdict.error, UnknownMiddlewareError)
    assert module not in sys.modules


def test_a_function_of_a_module_without_jobs_is_refused_with_the_remedy(queue: Laraq, tools: ModuleType) -> None:
    refused(call(queue, f"{tools.__name__}.wipe"), "Put @laraq.register on it")


@pytest.mark.parametrize("name", ["Evil", "Outer.Evil"])
def test_a_class_of_a_module_without_jobs_is_refused_with_the_remedy(
    queue: Laraq, tools: ModuleType, name: str
) -> None:
    refused(through(queue, f"{tools.__name__}.{name}"), "Put @laraq.register on it")


def test_what_is_registered_may_be_named(queue: Laraq, tools: ModuleType) -> None:
    assert isinstance(call(queue, f"{tools.__name__}.fine"), Done)
    assert through(queue, f"{tools.__name__}.Fine") == Done("hello")
    register(tools.Outer.Evil)
    assert through(queue, f"{tools.__name__}.Outer.Evil") == Done("hello")
    assert calls == ["fine", "evil", "greets", "evil", "greets"]


def test_functions_beside_jobs_need_nothing(queue: Laraq) -> None:
    assert isinstance(call(queue, f"{__name__}.by_name"), Done)


def test_functions_beside_tasks_of_the_app_need_nothing(queue: Laraq, tools: ModuleType) -> None:
    @queue.host.app.task(name="anything", shared=False)  # type: ignore[attr-defined] # the host is Celery's
    def task() -> None: ...

    queue.host.app.tasks["anything"].__module__ = tools.__name__  # type: ignore[attr-defined]
    assert isinstance(call(queue, f"{tools.__name__}.wipe"), Done)


@pytest.mark.parametrize(
    "name",
    [
        "laraq.jobs.closures.closure",
        "laraq.workflow.callbacks.describe",
        "laraq.workflow.batch.Batch.cancel",
        "celery.app.builtins.add_chunk_task",
        "laraq_celery.worker.task.task_for",
        "os.abort",
    ],
)
def test_what_is_laraqs_and_celerys_own_is_not_the_applications(queue: Laraq, name: str) -> None:
    refused(call(queue, name), "Function")


def test_a_module_is_not_asked_for_what_it_does_not_hold(queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = ModuleType("lazy")
    lazy.__getattr__ = calls.append  # type: ignore[method-assign] # as packages that import their parts late
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    refused(call(queue, "lazy.part"), "cannot be found")
    assert isinstance(through(queue, "lazy.Part"), Release)
    arrive(queue, callback(error={"type": "lazy.Error", "message": "", "args": []}))
    assert calls == ["by name"]


def test_a_lazy_proxy_is_not_asked_what_it_stands_for(queue: Laraq, monkeypatch: pytest.MonkeyPatch) -> None:
    class Proxy:
        @property
        def __class__(self) -> Any:
            calls.append("evaluated")
            return FunctionType

    monkeypatch.setattr(sys.modules[__name__], "proxy", Proxy(), raising=False)
    refused(call(queue, f"{__name__}.proxy"), "cannot be found")


def test_the_names_of_a_script_are_those_that_workers_import_it_by(
    queue: Laraq, tools: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ModuleType("__main__")
    script.__file__ = "/somewhere/my_script.py"
    monkeypatch.setitem(sys.modules, "__main__", script)
    exec(
        "class Here(Job):\n def handle(self): ...\ndef here(): calls.append('here')",
        {**vars(script), **globals()},
        vars(script),
    )
    script.here.__module__ = script.Here.__module__ = "__main__"  # type: ignore[attr-defined]
    registry.register(script.Here, "my_script.Here")  # type: ignore[attr-defined]
    assert isinstance(call(queue, "my_script.here"), Done)
    assert calls == ["here"]


def callback(**fields: Any) -> Payload:
    function = {"function": f"{__name__}.by_name", "code": None, "signature": None}
    return Payload("1", CallQueuedCallback.job_name(), {"function": function, **fields})


def test_a_callback_of_a_message_is_held_to_the_same(queue: Laraq, tools: ModuleType) -> None:
    forged = {"call": {"function": f"{tools.__name__}.wipe", "code": None, "signature": None}}
    refused(arrive(queue, callback(function=forged["call"])), "Put @laraq.register on it")
    failing = Payload("2", CallQueuedClosure.job_name(), {"function": "nowhere.f"}, chain={"catch": [forged]})
    arrive(queue, failing)
    assert calls == []


def test_what_this_process_sends_itself_it_runs_and_warns_that_others_do_not(
    queue: Laraq, tools: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    Bus.dispatch_sync(tools.wipe)
    assert calls == ["wipe"]
    assert f"Function {tools.__name__}.wipe" in caplog.text
    assert "Put @laraq.register on it" in caplog.text
    assert call(queue, f"{tools.__name__}._hidden") != Done(None)


@pytest.mark.parametrize("thing", [lambda: None, 5, "shop.f", sys])
def test_what_has_no_name_cannot_be_registered(thing: Any) -> None:
    with pytest.raises(JobDefinitionError, match="cannot be registered"):
        register(thing)
