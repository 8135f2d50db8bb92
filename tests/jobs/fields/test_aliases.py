"""Fields that have another name in messages: one that every job has itself, or one that others have always sent."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import pytest
from cryptography.fernet import Fernet
from pydantic import Field, field_validator

from laraq import Job, job
from laraq.errors import JobDefinitionError, PayloadError
from laraq.jobs.fields.codec import Codec
from laraq.messages.keys import Keys
from laraq.messages.payload import Payload
from tests.support.line import Line


class Fetch(Job):
    url: str
    seconds: Annotated[int, Field(alias="timeout", gt=0)] = 30

    def handle(self) -> Any:
        return self.url, self.seconds


class Checked(Fetch):
    again: Annotated[int | str, Field(alias="tries")] = 0

    @field_validator("url")
    @classmethod
    def lower(cls, url: str) -> str:
        return url.lower()


class Sealed(Fetch):
    encrypted = True


@job
def fetch(url: str, seconds: Annotated[int, Field(alias="timeout")] = 30) -> Any:
    return url, seconds


@pytest.mark.parametrize("cls", [Fetch, Checked, Sealed, fetch.job_class])
def test_a_field_is_known_by_both_names_and_travels_under_the_alias(cls: Any) -> None:
    codec = Codec(Keys((Fernet.generate_key().decode(),)))
    made = cls("x", timeout=5)
    assert made == cls("x", 5) == cls("x", seconds=5)
    sent = codec.dump(made, "1")
    if cls is not Sealed:
        assert sent["timeout"] == 5
        assert "seconds" not in sent
    assert codec.load(cls, Payload("1", cls.job_name(), sent)) == made
    if cls is not Sealed:
        for fields in ({"url": "x", "timeout": 5}, {"url": "x", "seconds": 5}):
            assert codec.load(cls, Payload("1", cls.job_name(), fields)) == made
        assert codec.load(cls, Payload("1", cls.job_name(), {"timeout": 5}, ("x",))) == made
    codec.check_round_trip(made)
    assert list(inspect.signature(cls).parameters)[:2] == ["url", "seconds"]


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(TypeError):
        Fetch("x", 5, timeout=5)  # type: ignore[call-arg] # that is the point
    with pytest.raises(PayloadError):
        Codec().load(Fetch, Payload("1", Fetch.job_name(), {"timeout": 5}, ("x", 5)))


def test_the_alias_of_a_field_is_in_the_error_of_a_refused_name() -> None:
    with pytest.raises(JobDefinitionError, match=r"'timeout' has the name of an option.*Field\(alias='timeout'\)"):

        @job
        def wait(timeout: int) -> None: ...

    members = {"__annotations__": {"other": Annotated[str, Field(alias="url")]}, "__module__": __name__, "other": ""}
    with pytest.raises(JobDefinitionError, match="two fields are called 'url'"):
        Codec().dump(type("Twice", (Fetch,), members)("x"))


def test_celery_s_callers_of_a_task_that_became_a_job_go_on_as_they_did() -> None:
    with Line.attached() as line:
        fetch.delay("x", timeout=5)
        fetch.s("x", timeout=5).apply_async()
        assert [dict(payload.fields) for payload in line.taken] == [{"url": "x", "timeout": 5}] * 2
        results = [run.verdict for run in line.work()]
    assert [verdict.result for verdict in results] == [("x", 5)] * 2  # type: ignore[union-attr]
