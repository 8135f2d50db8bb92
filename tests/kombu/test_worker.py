"""A stock Celery worker on each of our brokers, with plain tasks."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kombu.conftest import OpenProject
from tests.kombu.project import BrokerProject
from tests.support.waiting import wait_until


def test_canvas_remote_control_and_purge(any_project: BrokerProject) -> None:
    with any_project.worker(concurrency=2, args=["--without-heartbeat"]) as worker:
        printed = any_project.python(
            """
            import proj
            from celery import chain, chord, group
            print(chain(proj.add.s(1, 2), proj.add.s(3)).delay().get(timeout=20))
            print(group(proj.add.s(n, n) for n in range(5)).delay().get(timeout=20))
            print(chord([proj.add.s(n, 1) for n in range(10)], proj.total.s()).delay().get(timeout=20))
            node, = proj.app.control.inspect(timeout=5).ping()
            inspect = proj.app.control.inspect([node], timeout=5)
            print(inspect.ping()[node], inspect.active()[node], inspect.reserved()[node])
            print(inspect.stats()[node]["broker"]["transport"])
            print(proj.app.control.add_consumer("extra", destination=[node], reply=True, timeout=5))
            print(proj.add.apply_async((20, 2), queue="extra").get(timeout=20))
            print(proj.app.control.cancel_consumer("extra", destination=[node], reply=True, timeout=5))
            for n in range(7):
                proj.add.apply_async((20, 2), queue="extra")
            proj.add.apply_async((20, 2), queue="extra", countdown=60)
            print(proj.app.control.rate_limit("proj.add", "100/s", destination=[node], reply=True, timeout=5))
            """
        ).splitlines()
        assert printed[:3] == ["6", "[0, 2, 4, 6, 8]", "55"]
        assert printed[3] == "{'ok': 'pong'} [] []"
        assert printed[4] == any_project.driver
        assert "add consumer extra" in printed[5]
        assert printed[6] == "22"
        assert "no longer consuming from extra" in printed[7]
        assert "new rate limit set" in printed[8]
        assert (any_project.count("extra").pending, any_project.count("extra").delayed) == (7, 1)
        celery = str(Path(worker._command[0]))
        purged = any_project.run([celery, "-A", "proj", "purge", "-f", "-Q", "extra"])
        assert "Purged 8 messages" in purged
        any_project.python("import proj; proj.app.control.shutdown()")
        assert worker.wait() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_every_pool_runs_and_acknowledges(project: BrokerProject, pool: str) -> None:
    with project.worker(pool=pool, concurrency=2) as worker:
        project.python("import proj\nfor n in range(40): proj.note.delay(n)")
        wait_until(lambda: len(project.marks("end")) == 40, timeout=30)
        wait_until(lambda: project.count().total == 0)
        assert sorted(project.names("start")) == list(range(40))
        assert {mark["attempts"] for mark in project.marks("start")} == {1}
        assert worker.terminate() == 0


def test_delayed_jobs_wait_in_the_broker_and_start_on_time(any_project: BrokerProject) -> None:
    with any_project.worker() as worker:
        any_project.python(
            """
            import proj, time
            for n in range(50): proj.note.apply_async((n,), countdown=600)
            for n in range(5): proj.note.apply_async((time.time() + 1 + n / 5,), countdown=1 + n / 5)
            """
        )
        wait_until(lambda: len(any_project.marks("end")) == 5, timeout=15)
        late = [mark["at"] - mark["start"] for mark in any_project.marks("start")]
        assert min(late) >= -0.01
        assert max(late) < any_project.late
        assert any_project.count().delayed == 50
        assert "50" in any_project.python("import proj; print(proj.app.control.purge())")
        assert worker.terminate() == 0


def test_without_native_delay_the_worker_holds_what_is_not_due_as_stock_ones_do(open_project: OpenProject) -> None:
    project = open_project(native_delay=False)
    with project.worker():
        project.python("import proj; proj.note.apply_async((1,), countdown=6)")
        wait_until(lambda: project.count().reserved == 1)
        wait_until(lambda: project.names("end") == [1], timeout=15)


def test_a_retry_with_a_countdown_waits_in_the_broker(project: BrokerProject) -> None:
    with project.worker():
        project.python("import proj; proj.again.delay()")
        wait_until(lambda: project.names("start") == [0, 1, 2], timeout=15)
        assert {mark["attempts"] for mark in project.marks("start")} == {1}


def test_queues_are_served_in_the_order_given_and_priorities_within(any_project: BrokerProject) -> None:
    any_project.python(
        """
        import proj
        for n in range(6): proj.note.apply_async((f"low{n}",), queue="low")
        for n in range(3): proj.note.apply_async((f"low9.{n}",), queue="low", priority=9)
        for n in range(6): proj.note.apply_async((f"high{n}",), queue="high")
        for n in range(3): proj.note.apply_async((f"high5.{n}",), queue="high", priority=5)
        """
    )
    with any_project.worker(pool="solo", queues=["high", "low"]):
        wait_until(lambda: len(any_project.marks("end")) == 18, timeout=30)
    expected = [
        [f"high5.{n}" for n in range(3)],
        [f"high{n}" for n in range(6)],
        [f"low9.{n}" for n in range(3)],
        [f"low{n}" for n in range(6)],
    ]
    if any_project.unnamed_first:  # as with kombu's Redis transport, where 0 is the most urgent priority
        expected = [expected[place] for place in (1, 0, 3, 2)]
    assert any_project.names("start") == [name for part in expected for name in part]


def test_events_reach_a_receiver(any_project: BrokerProject) -> None:
    with any_project.worker(args=["-E"]):
        printed = any_project.python(
            """
            import proj
            seen = []
            with proj.app.connection() as connection:
                note = lambda event: seen.append(event["type"])
                receiver = proj.app.events.Receiver(connection, handlers={"*": note})
                with receiver.consumer_context() as (connection_, channel, consumers):
                    # on Redis the first look subscribes
                    while "worker-heartbeat" not in seen:
                        connection_.drain_events(timeout=15)
                    proj.note.delay("x")
                    while "task-succeeded" not in seen:
                        connection_.drain_events(timeout=15)
            print(sorted({kind for kind in seen if kind.startswith("task")}))
            """
        )
    assert printed.strip() == "['task-received', 'task-started', 'task-succeeded']"


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_warm_shutdown_finishes_what_runs_and_gives_back_the_rest_unused(project: BrokerProject, pool: str) -> None:
    with project.worker(pool=pool, args=["--prefetch-multiplier", "4"]) as worker:
        project.python("import proj\nfor n in range(6): proj.note.delay(n, 1.5)")
        wait_until(lambda: project.names("start"), timeout=15)
        assert worker.terminate() == 0
        done = project.names("end")
        assert done == project.names("start")
        count = project.count()
        assert (count.pending, count.reserved) == (6 - len(done), 0)
    with project.worker(concurrency=2):
        wait_until(lambda: len(project.marks("end")) == 6, timeout=20)
    assert {mark["attempts"] for mark in project.marks("start")} == {1}


@pytest.mark.parametrize("signals", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]], ids=["QUIT", "INT INT"])
def test_a_cold_shutdown_gives_everything_back_at_once(project: BrokerProject, signals: list[signal.Signals]) -> None:
    with project.worker(args=["--prefetch-multiplier", "4"]) as worker:
        project.python("import proj\nfor n in range(4): proj.note.delay(n, 60)")
        wait_until(lambda: project.names("start") == [0], timeout=15)
        for place, one in enumerate(signals):
            if place:  # a second one before the first was heard would be one
                worker.wait_for_log("Warm shutdown")
            os.kill(worker.pid, one)
        worker.wait()
        count = project.count()
        assert (count.pending, count.reserved) == (4, 0)


@pytest.mark.newest
def test_jobs_that_wait_in_a_batch_are_not_later_for_it(project: BrokerProject) -> None:
    with project.worker():
        project.python(
            """
            import proj, time
            with proj.app.producer_or_acquire() as producer:
                with producer.batch():
                    for n in range(3):
                        proj.note.apply_async((time.time() + 2,), countdown=2, producer=producer)
                    time.sleep(1)
            """
        )
        wait_until(lambda: len(project.marks("end")) == 3, timeout=15)
    assert max(mark["at"] - mark["start"] for mark in project.marks("start")) < 0.7


def test_an_unlimited_prefetch_is_served(project: BrokerProject) -> None:
    with project.worker(concurrency=2, args=["--prefetch-multiplier", "0"]):
        project.python("import proj\nfor n in range(200): proj.note.delay(n)")
        wait_until(lambda: len(project.marks("end")) == 200, timeout=30)
        wait_until(lambda: project.count().total == 0)
