from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator

import pytest

from laraq.container import Container, Scope
from laraq.errors import InjectionError
from tests.container import shop
from tests.container.event_loop import in_event_loop
from tests.container.shop import Clock, Mailer, NeedsDsn, Order, Outer, Recorder, Repo, Service, Smtp, User, aget, get

SHOP = shop.__name__


def test_a_singleton_is_the_same_in_every_job(container: Container) -> None:
    container.singleton(Clock, lambda: Clock())

    assert get(container, Clock) is get(container, Clock)


@in_event_loop
async def test_sync_and_async_jobs_share_what_a_sync_factory_made(container: Container) -> None:
    container.singleton(Clock, lambda: Clock())
    container.singleton(Repo[User])

    assert await aget(container, Repo[User]) is get(container, Repo[User])
    assert get(container, Repo[User]).clock is await aget(container, Clock)


def test_a_singleton_is_made_of_singletons_and_of_autowired_classes(container: Container) -> None:
    container.singleton(Mailer, Smtp)
    container.singleton(Outer)
    outer: Outer = get(container, Outer)

    with container.scope() as scope:
        assert outer.service.mailer is scope.get(Mailer)
        assert outer.service.clock is not scope.get(Clock)


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


def test_singletons_outlive_the_job_and_are_left_in_reverse_order(container: Container, recorder: Recorder) -> None:
    container.singleton(User, recorder.factory("User"))
    container.singleton(Order, lambda: recorder.opened("Order"))
    with container.scope() as scope:
        scope.get(User)
        scope.get(Order)
    assert recorder.log == ["+User", "+Order"]

    container.close()
    container.close()

    assert recorder.log == ["+User", "+Order", "-Order", "-User"]


def test_a_closed_container_makes_singletons_anew(container: Container, recorder: Recorder) -> None:
    container.singleton(User, recorder.factory("User"))
    get(container, User)
    container.close()
    get(container, User)
    container.close()

    assert recorder.log == ["+User", "-User"] * 2


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


class Pool:
    """Belongs to the event loop it was opened in."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


async def open_pool() -> Pool:
    return Pool()


class OnPool:
    def __init__(self, pool: Pool, clock: Clock) -> None:
        self.pool, self.clock = pool, clock


class LaterOnPool(OnPool):
    pass


def test_what_an_async_factory_made_and_all_that_is_made_of_it_stay_in_their_event_loop(container: Container) -> None:
    container.singleton(Pool, open_pool)
    container.singleton(Clock)
    container.singleton(OnPool)

    container.singleton(LaterOnPool)

    async def in_one_loop() -> list[OnPool]:
        return [await aget(container, key) for key in (OnPool, OnPool, LaterOnPool)]

    one, again, later = asyncio.run(in_one_loop())
    other, _, other_later = asyncio.run(in_one_loop())

    assert one is again
    assert one is not other
    assert one.pool is later.pool is not other_later.pool
    assert one.pool is not other.pool
    assert one.pool.loop is not other.pool.loop
    assert one.clock is other.clock is get(container, Clock)


def test_a_sync_job_is_refused_an_async_singleton(container: Container) -> None:
    container.singleton(Pool, open_pool)
    asyncio.run(aget(container, Pool))

    with pytest.raises(InjectionError, match=rf"{__name__}.open_pool is async"):
        get(container, Pool)


# -- a fork ---------------------------------------------------------------------------------------------------------


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
