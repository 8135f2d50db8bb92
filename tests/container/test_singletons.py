from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from laraq.container import Container, Scope
from laraq.errors import InjectionError
from tests.container import shop
from tests.container.event_loop import in_event_loop
from tests.container.shop import (
    AsyncClient,
    Clock,
    Mailer,
    NeedsDsn,
    Order,
    Outer,
    Recorder,
    Repo,
    Service,
    Smtp,
    User,
    aget,
    get,
)

SHOP = shop.__name__


@in_event_loop
async def test_a_singleton_is_the_same_in_every_sync_and_async_job(container: Container) -> None:
    container.singleton(Clock)
    container.singleton(Repo[User])

    assert get(container, Clock) is get(container, Clock) is await aget(container, Clock)
    assert await aget(container, Repo[User]) is get(container, Repo[User])
    assert get(container, Repo[User]).clock is await aget(container, Clock)


def test_a_singleton_is_made_of_singletons_and_of_autowired_classes(container: Container, scope: Scope) -> None:
    container.singleton(Mailer, Smtp)
    container.singleton(Outer)

    assert scope.get(Outer).service.mailer is scope.get(Mailer)
    assert scope.get(Outer).service.clock is not scope.get(Clock)


@pytest.mark.parametrize("through", [Service, Outer], ids=["directly", "through an autowired class"])
def test_a_singleton_is_refused_what_lives_for_one_job(container: Container, scope: Scope, through: type) -> None:
    container.bind(Mailer, Smtp)
    container.singleton(through)

    with pytest.raises(InjectionError) as refusal:
        scope.get(through)

    assert str(refusal.value) == (
        f"Cannot make the singleton {SHOP}.{through.__name__}: {SHOP}.Mailer, which it needs, lives for one job."
        f" Bind that with container.singleton(Mailer, ...), or {SHOP}.{through.__name__} per job."
    )


def test_a_singleton_that_cannot_be_made_names_the_job_that_asked(container: Container, scope: Scope) -> None:
    container.singleton(NeedsDsn)

    def handle(needs: NeedsDsn) -> None: ...

    with pytest.raises(InjectionError, match=rf"'dsn' of {SHOP}.NeedsDsn, needed by {__name__}\.\S+handle: nothing"):
        scope.call(handle)


def test_singletons_that_need_each_other_are_refused(container: Container, scope: Scope) -> None:
    def clock(user: User) -> Clock:
        raise AssertionError(user)

    def user(clock: Clock) -> User:
        raise AssertionError(clock)

    container.singleton(Clock, clock)
    container.singleton(User, user)

    with pytest.raises(InjectionError, match=f"{SHOP}.Clock -> {SHOP}.User -> {SHOP}.Clock"):
        scope.get(Clock)


def test_a_singleton_that_failed_is_tried_again(container: Container) -> None:
    attempts = iter(["fails", "succeeds"])

    def connect() -> Clock:
        if next(attempts) == "fails":
            raise OSError("down")
        return Clock()

    container.singleton(Clock, connect)

    with pytest.raises(OSError, match="down"):
        get(container, Clock)
    assert isinstance(get(container, Clock), Clock)


# -- the end ----------------------------------------------------------------------------------------------------------


def test_singletons_outlive_the_job_and_are_left_in_reverse_order_and_made_anew(
    container: Container, recorder: Recorder
) -> None:
    container.singleton(User, recorder.factory("User"))
    container.singleton(Order, lambda: recorder.opened("Order"))
    get(container, User)
    get(container, Order)
    assert recorder.log == ["+User", "+Order"]

    container.close()
    container.close()
    get(container, User)
    container.close()

    assert recorder.log == ["+User", "+Order", "-Order", "-User", "+User", "-User"]


@in_event_loop
async def test_async_singletons_are_left_in_their_event_loop_before_the_others(
    container: Container, recorder: Recorder
) -> None:
    async def of_order(order: Order) -> AsyncIterator[str]:
        with recorder.opened("User") as value:
            yield value

    container.singleton(User, of_order)
    container.singleton(Order, recorder.factory("Order"))
    await aget(container, User)

    await container.aclose()

    assert recorder.log == ["+Order", "+User", "-User", "-Order"]


# -- event loops ------------------------------------------------------------------------------------------------------


class OnClient:
    def __init__(self, client: AsyncClient, clock: Clock) -> None:
        self.client, self.clock = client, clock


class LaterOnClient(OnClient):
    pass


def test_what_an_async_factory_made_and_all_that_is_made_of_it_stay_in_their_event_loop(container: Container) -> None:
    container.singleton(AsyncClient, lambda: AsyncClient())
    for each in (Clock, OnClient, LaterOnClient):
        container.singleton(each)

    async def in_one_loop() -> list[OnClient]:
        return [await aget(container, key) for key in (OnClient, OnClient, LaterOnClient)]

    one, again, later = asyncio.run(in_one_loop())
    other, _, other_later = asyncio.run(in_one_loop())

    assert one is again
    assert one is not other
    assert one.client is later.client is not other_later.client
    assert one.client.loop is not other.client.loop
    assert one.clock is other.clock is get(container, Clock)


def test_a_sync_job_is_refused_an_async_singleton(container: Container) -> None:
    async def connect() -> Clock:
        return Clock()

    container.singleton(Clock, connect)
    asyncio.run(aget(container, Clock))

    with pytest.raises(InjectionError, match="connect is async"):
        get(container, Clock)


# -- threads and coroutines -------------------------------------------------------------------------------------------


class Slow:
    """A factory that ends when it is told to."""

    def __init__(self) -> None:
        self.made: list[Clock] = []
        self.started = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> Clock:
        self.started.set()
        assert self.may_end.wait(10)
        self.made.append(Clock())
        return self.made[-1]

    async def slowly(self) -> Clock:
        return await asyncio.to_thread(self)


def test_threads_that_ask_at_the_same_time_share_one_instance(container: Container) -> None:
    slow = Slow()
    container.singleton(Clock, slow)

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(get, container, Clock) for _ in range(8)]
        assert slow.started.wait(10)
        slow.may_end.set()
        instances = {id(future.result(10)) for future in asked}

    assert len(slow.made) == len(instances) == 1


@in_event_loop
async def test_coroutines_and_threads_that_ask_at_the_same_time_share_one_instance(container: Container) -> None:
    slow = Slow()
    container.singleton(Clock, slow)
    in_thread = asyncio.create_task(asyncio.to_thread(get, container, Clock))
    await asyncio.to_thread(slow.started.wait, 10)
    in_loop = [asyncio.create_task(aget(container, Clock)) for _ in range(3)]
    await asyncio.sleep(0)  # they wait now, and do not block the loop
    slow.may_end.set()

    assert len({id(clock) for clock in await asyncio.gather(in_thread, *in_loop)}) == 1


@in_event_loop
async def test_coroutines_share_what_an_async_factory_is_still_making(container: Container) -> None:
    slow = Slow()
    container.singleton(Clock, slow.slowly)
    asked = [asyncio.create_task(aget(container, Clock)) for _ in range(3)]
    await asyncio.to_thread(slow.started.wait, 10)
    slow.may_end.set()

    assert len({id(clock) for clock in await asyncio.gather(*asked)}) == len(slow.made) == 1


@in_event_loop
async def test_a_cancelled_builder_and_a_cancelled_waiter_let_the_next_one_in(container: Container) -> None:
    started = asyncio.Event()

    async def hangs_once() -> Clock:
        if not started.is_set():
            started.set()
            await asyncio.Event().wait()
        return Clock()

    container.singleton(Clock, hangs_once)
    builder, waiter, last = (asyncio.create_task(aget(container, Clock)) for _ in range(3))
    await started.wait()
    waiter.cancel()
    builder.cancel()

    assert isinstance(await asyncio.wait_for(last, 10), Clock)
    assert builder.cancelled()
    assert waiter.cancelled()


def test_a_factory_may_run_a_job_that_needs_another_singleton(container: Container) -> None:
    container.singleton(Clock)
    container.singleton(User, lambda: get(container, Clock))

    assert get(container, User) is get(container, Clock)


# -- a fork -----------------------------------------------------------------------------------------------------------


def test_a_child_of_a_fork_makes_its_own_and_leaves_those_of_its_parent_alone() -> None:
    script = """
        import gc, os, sys
        from laraq.container import Container

        class Client: ...

        def connect():
            try:
                yield Client()
            finally:
                print("closed in", "parent" if os.getpid() == parent else "child", flush=True)

        def get():
            with container.scope() as scope:
                return scope.get(Client)

        parent = os.getpid()
        container = Container()
        container.singleton(Client, connect)
        inherited = get()
        if not (child := os.fork()):
            own = get()
            print("own" if own is not inherited and own is get() else "inherited", flush=True)
            del inherited
            gc.collect()
            container.close()
            os._exit(0)
        os.waitpid(child, 0)
        print("kept" if get() is inherited else "lost", flush=True)
        container.close()
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )

    assert run.stdout.split("\n")[:-1] == ["own", "closed in child", "kept", "closed in parent"]
