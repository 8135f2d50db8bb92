"""What an assertion names, compared with what was sent: a class, a function, a task, an instance or a predicate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CodeType
from typing import Any, Protocol, TypeAlias

from laraq.app import Laraq
from laraq.jobs import registry
from laraq.jobs.function import JobFunction
from laraq.jobs.job import Job
from laraq.jobs.verbs import as_written
from laraq.messages.payload import Payload
from laraq.workflow.batch import ChainedBatch, PendingBatch


class Predicate(Protocol):
    """A function or lambda that is given a job; a class is not one, whatever it can be called with."""

    @property
    def __code__(self) -> CodeType: ...

    def __call__(self, job: Any, /) -> object: ...


class HostTask(Protocol):
    """A task of Celery."""

    @property
    def name(self) -> str: ...

    def apply_async(self) -> Any: ...


#: What an assertion can be about, beside a Job class.
What: TypeAlias = "JobFunction[..., Any] | Job | str | HostTask | Predicate"

#: What assertions show of a long list.
SHOWN = 10


class Target:
    """What an assertion is about."""

    def __init__(self, what: Any, where: Callable[[Any], object] | None = None) -> None:
        self._where = where
        self._instance: Any = None
        self._class: type[Any] | None = None
        self._name: str | None = None
        self._predicate: Callable[[Any], object] | None = None
        if isinstance(what, JobFunction):
            what = what.job_class
        if isinstance(what, type):
            self._class = what
            self.text = getattr(what, "__name__", str(what))
        elif isinstance(what, Job):
            self._instance = what
            self.text = as_written(what)
        elif isinstance(what, str):
            self._name = what
            self.text = what
        elif isinstance(getattr(what, "name", None), str) and hasattr(what, "apply_async"):  # a task of Celery
            self._name = what.name
            self.text = what.name
        elif callable(what):
            self._predicate = what
            self.text = f"a job for which {getattr(what, '__name__', what)!s} is true"
        else:
            raise TypeError(f"Expected a Job class, a @job function, a task, a job or a predicate, got {what!r:.80}")

    def is_kind(self, job: Any) -> bool:
        """Whether it is of the class or name that is meant, whatever its fields."""
        if self._class is not None:
            return isinstance(job, self._class)
        if self._instance is not None:
            return type(job) is type(self._instance)
        if self._name is not None:
            return name_of(job) == self._name
        return True

    def names(self, name: str, cls: type[Any] | None) -> bool:
        """Whether jobs of that name and class are meant; `only` and `except_` of a fake go by it."""
        if self._name is not None:
            return self._name == name
        meant = self._class or type(self._instance)
        return cls is not None and issubclass(cls, meant)

    def matches(self, job: Any) -> bool:
        """Whether it is what is meant."""
        if not self.is_kind(job):
            return False
        if self._instance is not None and differences(self._instance, job):
            return False
        if self._predicate is not None and not self._predicate(job):
            return False
        return self._where is None or bool(self._where(job))

    def distance(self, job: Any) -> int:
        """In how many fields a job of the kind differs from the one that is meant."""
        return 0 if self._instance is None else len(differences(self._instance, job))

    def miss(self, job: Any) -> str:
        """A job of the kind that does not match, with what is different."""
        if self._instance is not None and (different := differences(self._instance, job)):
            return f"{shown(job)}: {'; '.join(different)}"
        return shown(job) if self._where is None else f"{shown(job)}: where(job) is false"


class ChainedBatchMatcher:
    """`Bus.chained_batch(predicate)`: a batch at that place of a chain. The predicate is given the PendingBatch, or the
    ChainedBatch job where the chain was pushed to a queue."""

    text = "a batch"

    def __init__(self, where: Callable[[Any], object] | None = None) -> None:
        self._where = where

    def matches(self, thing: Any) -> bool:
        """Whether it is such a batch."""
        is_batch = isinstance(thing, (PendingBatch, ChainedBatch))
        return is_batch and (self._where is None or bool(self._where(thing)))


class Task:
    """A task of the host as it was sent: not a job of laraq."""

    def __init__(
        self, name: str, id: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        self.name, self.id, self.args, self.kwargs, self.options = name, id, tuple(args), dict(kwargs), options

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.name}({', '.join(given)})"


def restored(laraq: Laraq, payload: Payload) -> Any:
    """The job of a message as a worker makes it; a `Task` where it is not a job."""
    if not registry.knows(payload.job):
        return Task(payload.job, payload.id, payload.args, payload.fields, {"queue": payload.queue})
    return laraq.loader.instance(registry.find(payload.job), payload)


def name_of(job: Any) -> str:
    """The name that a job or task travels under."""
    return job.name if isinstance(job, Task) else job.job_name()


def shown(job: Any) -> str:
    """A job as one writes it, and what else is known of it."""
    return as_written(job) if isinstance(job, Job) else repr(job)


def differences(expected: Any, actual: Any) -> list[str]:
    """The fields in which two jobs of a class differ, in words."""
    found = []
    for field in dataclasses.fields(expected):
        wanted, got = getattr(expected, field.name, None), getattr(actual, field.name, None)
        if type(wanted) is not type(got) or wanted != got:
            found.append(f"{field.name} is {got!r:.80}, expected {wanted!r:.80}")
    return found


def same(expected: Any, job: Any) -> bool:
    """Whether a link is what a chain expects at its place."""
    return bool(expected.matches(job)) if hasattr(expected, "matches") else Target(expected).matches(job)


def text_of(expected: Any) -> str:
    """What is expected, in words."""
    return expected.text if hasattr(expected, "matches") else Target(expected).text


def listed(lines: Iterable[str]) -> str:
    """Lines below a message; of many the first ones."""
    lines = list(lines)
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:SHOWN], *more])


def times(count: int) -> str:
    """3 times, in words."""
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")
