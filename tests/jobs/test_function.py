from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from laraq import Bus, Injected, Job, Laraq, current_job, injected, job
from laraq.errors import InvalidJobError, JobDefinitionError
from laraq.messages.options import read


@pytest.fixture(autouse=True)
def queue() -> Iterator[Laraq]:
    connections = {"nowhere": {"driver": "null"}}
    app = Celery("t", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://", connections=connections) as queue:
        queue.container.instance(Mailer, Mailer("bound"))
        yield queue


class Mailer:
    def __init__(self, name: str) -> None:
        self.name = name


@job(queue="emails", tries=3)
def send_welcome(user_id: int, mailer: Injected[Mailer] = injected(), *, loud: bool = False) -> Any:  # noqa: B008 - as documented
    """Greets."""
    return user_id, mailer.name, loud


@job
def plain(names: list[str] = [], count: int = 1) -> Any:  # noqa: B006 - what `@job` makes of it is the point
    names.append("x")
    return names, count


@job
async def later(n: int) -> int:
    return n + 1


def test_a_job_function_is_still_the_function() -> None:
    assert send_welcome(1, Mailer("mine"), loud=True) == (1, "mine", True)
    assert getattr(send_welcome, "__name__", None) == "send_welcome"
    assert send_welcome.__doc__ == "Greets."


def test_parameters_are_the_fields_and_injected_ones_are_not() -> None:
    assert send_welcome.dispatch_sync(42) == (42, "bound", False)
    assert send_welcome.dispatch_sync(user_id=42, loud=True) == (42, "bound", True)


def test_a_field_of_the_wrong_type_is_refused_by_job_and_field() -> None:
    with pytest.raises(InvalidJobError, match=r"send_welcome[\s\S]*user_id"):
        send_welcome.dispatch_sync("nobody")  # type: ignore[arg-type] # that is the point


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        send_welcome.dispatch_sync(1, colour="red")  # type: ignore[call-arg] # that is the point


def test_keywords_are_the_options() -> None:
    assert (send_welcome.job(1).queue, send_welcome.job(1).tries) == ("emails", 3)


def test_an_instance_can_be_configured() -> None:
    configured = send_welcome.job(1).on_queue("low").with_delay(5)
    assert (configured.queue, configured.countdown) == ("low", 5)
    assert send_welcome.job(1).queue == "emails"


def test_it_travels_under_the_path_of_the_function() -> None:
    assert send_welcome.job_class.job_name() == f"{__name__}.send_welcome"


def test_a_mutable_default_is_not_shared_between_jobs() -> None:
    assert plain.dispatch_sync() == (["x"], 1)
    assert plain.dispatch_sync() == (["x"], 1)


def test_a_nested_mutable_default_is_not_shared_between_jobs() -> None:
    @job
    def nested(groups: dict[str, list[str]] = {"a": []}) -> Any:  # noqa: B006 - what `@job` makes of it is the point
        groups["a"].append("x")
        return groups

    assert nested.job_class() == nested.job_class()
    nested.job_class().groups["a"].append("left over")  # type: ignore[attr-defined] # a field made at run time
    assert nested.dispatch_sync() == {"a": ["x"]}


def test_an_async_function_is_run_to_its_end() -> None:
    assert later.dispatch_sync(1) == 2


def test_current_job_is_the_job_behind_the_function() -> None:
    @job
    def who() -> Any:
        return current_job().job_name(), current_job().attempts, bool(current_job().id)

    assert who.dispatch_sync() == (who.job_class.job_name(), 1, True)


def test_an_injected_parameter_needs_no_default() -> None:
    @job
    def needs(user_id: int, mailer: Injected[Mailer]) -> str:
        return mailer.name

    made: Any = needs.job_class
    assert Bus.dispatch_sync(made(1)) == "bound"


def test_options_may_be_functions_of_nothing_or_of_the_job() -> None:
    @job(backoff=lambda: [1, 5], tags=lambda job: [f"user:{job.user_id}"], retry_until=lambda: timedelta(hours=1))
    def work(user_id: int) -> None: ...

    made = work.job(7)
    assert read(made, "backoff") == [1, 5]
    assert read(made, "tags") == ["user:7"]
    assert read(made, "retry_until") == timedelta(hours=1)


def test_middleware_may_be_a_list_or_a_function_of_the_job() -> None:
    seen = []

    class Notes:
        def __init__(self, name: str) -> None:
            self.name = name

        def handle(self, job: Any, next: Any) -> Any:
            seen.append(self.name)
            return next(job)

    @job(middleware=[Notes("a"), Notes("b")])
    def listed() -> None: ...

    @job(middleware=lambda job: [Notes(f"user {job.user_id}")])
    def made(user_id: int) -> None: ...

    listed.dispatch_sync()
    made.dispatch_sync(7)
    assert seen == ["a", "b", "user 7"]


def test_failed_is_told_the_job_and_the_error() -> None:
    told = []

    @job(failed=lambda job, error: told.append((job.n, str(error))))
    def breaks(n: int) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        breaks.dispatch_sync(3)
    assert told == [(3, "no")]


def test_an_unknown_option_is_refused_with_a_suggestion() -> None:
    with pytest.raises(JobDefinitionError, match=r"'trys'.*Did you mean 'tries'"):

        @job(trys=3)
        def work() -> None: ...


@pytest.mark.parametrize("name", ["tries", "id", "dispatch"])
def test_a_parameter_named_like_an_option_or_a_verb_is_refused(name: str) -> None:
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(f"def work({name}: int) -> None: ...", namespace)
    with pytest.raises(JobDefinitionError, match=f"{name!r}.*rename"):
        job(namespace["work"])


@pytest.mark.parametrize("parameters", ["*args", "**kwargs", "a, /"])
def test_a_parameter_that_cannot_be_a_field_is_refused(parameters: str) -> None:
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(f"def work({parameters}): ...", namespace)
    with pytest.raises(JobDefinitionError, match="cannot be a field"):
        job(namespace["work"])


def test_dispatch_if_and_unless_send_only_when_they_should(queue: Laraq) -> None:
    @job(connection="nowhere")
    def work() -> None: ...

    assert work.dispatch_if(False) is None
    assert work.dispatch_unless(True) is None
    sent, also = work.dispatch_if(True), work.dispatch_unless(False)
    assert sent is not None
    assert also is not None
    assert sent.id != also.id


async def dispatch_twice() -> tuple[str, str]:
    return (await send_welcome.job(1).on_connection("nowhere").adispatch()).id, (await later_nowhere.adispatch(1)).id


@job(connection="nowhere")
def later_nowhere(n: int) -> None: ...


def test_adispatch_sends_from_async_code() -> None:
    import asyncio

    first, second = asyncio.run(dispatch_twice())
    assert first
    assert second
    assert first != second


def test_a_job_function_shows_its_name() -> None:
    assert repr(send_welcome) == f"<job {__name__}.send_welcome>"


def test_it_is_a_job_class_like_any_other() -> None:
    assert issubclass(send_welcome.job_class, Job)
