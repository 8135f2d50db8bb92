"""`laraq work`, against real brokers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from click.testing import CliRunner
from kombu import Connection

from laraq import Laraq
from laraq.cli import laraq
from laraq_celery import transports
from tests.cli.programs import FORMS, run_in_terminal
from tests.support.project import Project
from tests.support.waiting import wait_until

SOURCE = """
    import os, time
    import click
    from celery import Celery, bootsteps
    from laraq import Job, Laraq, Queue

    app = Celery("proj", broker=os.environ["BROKER"])
    app.conf.task_default_queue = os.environ["QUEUE"]
    mail = {"url": os.environ.get("MAIL", ""), "queue": os.environ["QUEUE"] + "-mail"}
    queue = Laraq(
        app,
        store=os.environ["STORE"],
        connections={"mail": mail},
    )

    class Sharded(bootsteps.Step):
        # No default: a worker whose command line lacks the app's own option cannot start.
        def __init__(self, parent, shard, **options): ...

    app.user_options["worker"].add(click.Option(["--shard"], default="7"))
    app.steps["worker"].add(Sharded)

    def note(*words):
        with open("notes", "a") as notes:
            print(*words, file=notes)

    class Note(Job):
        n: int

        def handle(self):
            note(self.n, self.attempts)

    class Stumble(Job):
        def handle(self):
            note("stumble", self.attempts, time.time())
            if self.attempts < 3:
                raise ValueError("not yet")

    class Refused(Job):
        tries = 1

        def handle(self):
            raise PermissionError("no")

    @app.task
    def add(x, y):
        return x + y

    class Hang(Job):
        def handle(self):
            time.sleep(600)

    class Grow(Job):
        def handle(self):
            self.all_of_it = kept = b"x" * 2**28
            while not os.path.exists("end"):
                time.sleep(0.01)

    def stopping(event):
        with open("stopping", "a") as file:
            print(event.reason, event.status, event.jobs_processed, event.last_job_processed_at is not None,
                  event.memory_usage > 2**20, file=file)

    Queue.stopping(stopping)

    class PassOn(Job):
        def handle(self):
            Note(2).dispatch()
            Note(3).on_connection("mail").dispatch()
"""


class Shop(Project):
    """A project whose jobs note what they do."""

    def __init__(self, folder: Path, broker: str, store: str, queue: str, mail: str = "") -> None:
        self.queue = queue
        self.env = {"BROKER": broker, "STORE": store, "QUEUE": queue, "MAIL": mail}
        super().__init__(folder, {"proj.py": SOURCE}, env=self.env)

    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def work(self, *options: str, form: str = "laraq", status: int = 0) -> str:
        """Run a worker that ends by itself; return what it printed."""
        return self.run([*FORMS[form], "work", "--concurrency", "1", *options], status=status)

    def stopping(self) -> list[str]:
        """What WorkerStopping said."""
        return (self.folder / "stopping").read_text().splitlines()

    def failed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run([*FORMS["laraq"], "failed", "--json"]))
        return found


@pytest.fixture
def shop(tmp_path: Path, redis_url: str, queue_name: str) -> Shop:
    return Shop(tmp_path, redis_url, redis_url, queue_name)


def test_a_worker_that_is_done_leaves_the_other_jobs_unstarted(
    tmp_path: Path, broker_url: str, redis_url: str, queue_name: str
) -> None:
    shop = Shop(tmp_path, broker_url, redis_url, queue_name)
    shop.python("import proj\nfor n in range(6): proj.Note(n).dispatch()")
    shop.work("--once")
    assert shop.notes() == ["0 1"]
    shop.work("--max-jobs", "3", "--concurrency", "2", form="celery")
    assert sorted(shop.notes()) == ["0 1", "1 1", "2 1", "3 1"]
    shop.work("--stop-when-empty")
    assert sorted(shop.notes()) == [f"{n} 1" for n in range(6)]
    shop.work("--stop-when-empty")
    assert len(shop.notes()) == 6


@pytest.mark.parametrize("broker", ["redis", "amqp", "laraq-redis", "laraq-db"])
def test_a_worker_that_stops_when_empty_waits_neither_for_delays_nor_for_other_workers(
    broker: str, tmp_path: Path, request: pytest.FixtureRequest, queue_name: str
) -> None:
    store = request.getfixturevalue("redis_url")
    urls = {"laraq-redis": f"laraq-{store}", "laraq-db": f"laraq-db+sqlite:///{tmp_path / 'broker.db'}"}
    url = urls.get(broker) or request.getfixturevalue(f"{broker}_url")
    shop = Shop(tmp_path, url, store, queue_name)
    shop.python("import proj; proj.queue.migrate(); proj.Note(1).dispatch()")
    transports.register()  # in this process, where no other test may have done it
    with Connection(url, transport_options={"create_tables": True}) as other:
        held = other.default_channel.basic_get(queue_name)
        assert held is not None
        shop.python("""
            import proj
            proj.Note(2).with_delay(600).dispatch()
            proj.Note(3).with_delay(9).dispatch()
            proj.Note(4).dispatch()
        """)
        shop.work("--stop-when-empty", "--timeout", "0")
        assert shop.notes() == ["4 1"]
        other.default_channel.basic_reject(held.delivery_tag, requeue=True)


def test_a_worker_says_why_it_stops(shop: Shop) -> None:
    shop.python("import proj; proj.Note(1).dispatch()")
    shop.work("--max-time", "0.01", "--queue", "none")
    shop.work("--stop-when-empty-for", "0.5")
    shop.python("import proj; proj.Note(2).dispatch()")
    shop.work("--once")
    assert shop.notes() == ["1 1", "2 1"]
    assert shop.stopping() == ["max_time 0 0 False True", "empty 0 1 True True", "max_jobs 0 1 True True"]


def test_a_worker_whose_process_uses_too_much_memory_ends_after_its_job_with_status_12(shop: Shop) -> None:
    shop.python("import proj; proj.Grow().dispatch(); proj.Note(1).dispatch()")
    with shop.worker(command="laraq", args=["--memory", "200"]) as worker:
        wait_until(lambda: (shop.folder / "stopping").exists(), 20)
        (shop.folder / "end").touch()
        assert worker.wait() == 12
    assert shop.stopping() == ["memory 12 0 False True"]
    assert shop.notes() == []


def test_settings_end_a_celery_worker_too(shop: Shop) -> None:
    shop.python("import proj; [proj.Note(n).dispatch() for n in range(3)]")
    with shop.worker(env={"LARAQ_WORKER_MAX_JOBS": "2"}, await_ready=False) as worker:
        assert worker.wait(60) == 0
    assert sorted(shop.notes()) == ["0 1", "1 1"]
    assert shop.stopping() == ["max_jobs 0 2 True True"]


def test_jobs_are_told_as_json(shop: Shop) -> None:
    shop.python("import proj; proj.Note(1).dispatch(); proj.Refused().dispatch()")
    told = [json.loads(line) for line in shop.work("--json", "--stop-when-empty").splitlines()]
    assert [each["status"] for each in told] == ["ready", "running", "done", "running", "fail"]
    assert (told[2]["job"], told[2]["queue"], told[2]["attempts"]) == ("proj.Note", shop.queue, 1)
    assert (told[4]["level"], told[4]["exception"], told[4]["message"]) == ("error", "builtins.PermissionError", "no")


def test_what_is_due_in_the_store_is_done_before_a_worker_stops(shop: Shop) -> None:
    shop.python("""
        import proj
        proj.app.conf.laraq_store_delays_over = 0.1
        proj.Note(1).with_delay(0.2).dispatch()
    """)
    shop.work("--stop-when-empty")
    assert shop.notes() == ["1 1"]


def test_a_worker_without_an_end_stops_when_it_is_told_to(shop: Shop) -> None:
    with shop.worker(command="laraq", queues=["some", "more"]) as worker:
        shop.python("import proj; proj.Note(1).on_queue('more').dispatch()")
        worker.wait_for_log(r" proj\.Note .* DONE$")
        assert worker.terminate() == 0
        assert "laraq-" in worker.log


def test_it_says_in_a_terminal_what_becomes_of_each_job(shop: Shop) -> None:
    ids = shop.python("""
        import proj
        for job in (proj.Note(1), proj.Stumble(), proj.Refused().on_queue("odd")): print(job.dispatch().id)
        proj.add.apply_async((1, 2), task_id="sum")
    """).split()
    note, stumble, refused = ids
    command = [*FORMS["laraq"], "work", "--stop-when-empty", "-c", "1", "--tries", "3", "--queue", f"{shop.queue},odd"]
    status, screen = run_in_terminal(command, folder=shop.folder, env=shop.env, columns=110)
    assert status == 0
    assert "\x1b[" in screen
    lines = re.sub(r"\x1b\[[\d;]*m", "", screen).splitlines()
    told = [re.sub(r"^[\d-]{10} [\d:]{8}  |\.{3,} (?:[\d.]+ m?s  )?", "", line) for line in lines if "...." in line]
    assert [line for line in told if note in line] == [f"proj.Note  {note} RUNNING", f"proj.Note  {note} DONE"]
    assert [line.split()[-1] for line in told if stumble in line] == ["RUNNING", "RELEASED"] * 2 + ["RUNNING", "DONE"]
    assert [line.split()[-1] for line in told if refused in line] == ["RUNNING", "FAIL"]
    assert [line for line in told if "sum" in line] == ["proj.add  sum RUNNING", "proj.add  sum DONE"]
    assert {len(line) for line in lines if "...." in line} == {110}
    ready = re.compile(rf" takes jobs from {shop.queue}, odd at redis://\S+ \(prefork, 1\): ready\.$")
    assert any(map(ready.search, lines))
    assert not [line for line in lines if "[tasks]" in line or "--- **" in line or "] succeeded in" in line]


def test_celery_s_own_options_are_passed_on_and_more_is_said_when_asked(shop: Shop) -> None:
    (shop.folder / "extra.py").write_text("from proj import *\nclass Late(Note): ...")
    shop.python("import extra; extra.Late(1).on_queue('q1').dispatch(); extra.Late(2).on_queue('q1').dispatch()")
    pool = ["--max-tasks-per-child", "1", "--max-memory-per-child", "1000000", "--autoscale", "1,1"]
    files = ["--pidfile", "pid", "--logfile", "log", "-s", "schedule"]
    shop.work("-v", "-E", "-B", "-n", "me@%h", "-I", "extra", "-Q", "q1", "--max-jobs", "2", *pool, *files)
    assert shop.notes() == ["1 1", "2 1"]
    log = (shop.folder / "log").read_text()
    assert len(re.findall(r"extra\.Late  \S+ \(queue q1, connection default, attempt 1, \d+ MB\)  .*DONE", log)) == 2
    assert re.search(r"me@\S+ takes jobs from q1", log)


def test_a_worker_that_knows_no_job_says_so(tmp_path: Path, redis_url: str) -> None:
    project = Project(tmp_path, {"jobs.py": "from laraq import Job"}, env={"LARAQ_URL": redis_url})
    with project.worker("jobs", command="laraq") as worker:
        worker.wait_for_log("This worker has no jobs.*Name these modules with -A")
        assert worker.terminate() == 0


def test_jobs_that_say_nothing_take_the_options_of_the_worker(shop: Shop) -> None:
    options = ["--tries", "3", "--backoff", "0.5,1", "--timeout", "1"]
    with shop.worker(command="laraq", concurrency=2, args=options) as worker:
        shop.python("import proj; proj.Stumble().dispatch(); proj.Hang().dispatch()")
        worker.wait_for_log(r" proj\.Stumble .* DONE$")
        worker.wait_for_log(r" proj\.Hang .* FAIL$")
        assert worker.terminate() == 0
    starts = [line.split() for line in shop.notes()]
    assert [attempt for _, attempt, _ in starts] == ["1", "2", "3"]
    first, second, third = (float(moment) for _, _, moment in starts)
    assert second - first >= 0.5
    assert third - second >= 1
    [hang] = shop.failed()
    assert (hang["job"], hang["attempts"]) == ("proj.Hang", 3)
    assert "JobTimedOutError" in hang["error"]


def test_the_first_queue_goes_first(shop: Shop) -> None:
    shop.python("""
        import proj
        for n in range(3): proj.Note(n).on_queue("low").dispatch()
        for n in range(10, 13): proj.Note(n).on_queue("high").dispatch()
    """)
    shop.work("--queue", "high, low", "--stop-when-empty")
    assert shop.notes() == ["10 1", "11 1", "12 1", "0 1", "1 1", "2 1"]


@pytest.fixture
def mail_shop(tmp_path: Path, redis_url: str, amqp_url: str, queue_name: str) -> Shop:
    """Its own broker is Redis, its connection `mail` is RabbitMQ."""
    return Shop(tmp_path, redis_url, redis_url, queue_name, mail=amqp_url)


def test_a_named_connection_is_worked_on_and_the_own_broker_is_not(mail_shop: Shop) -> None:
    mail_shop.python("""
        import proj
        proj.Note(1).dispatch()
        proj.PassOn().on_connection("mail").dispatch()
    """)
    mail_shop.work("mail", "--stop-when-empty")
    assert mail_shop.notes() == ["3 1"]
    mail_shop.work("--stop-when-empty")
    assert mail_shop.notes() == ["3 1", "1 1", "2 1"]


def test_the_environment_does_not_overrule_a_named_connection(
    tmp_path: Path, redis_url: str, amqp_url: str, queue_name: str
) -> None:
    shop = Shop(tmp_path, "memory://", redis_url, queue_name, mail=amqp_url)
    shop.python("import proj; proj.Note(1).on_connection('mail').dispatch()")
    shop.run([*FORMS["celery"][:1], "-A", "proj", "-b", redis_url, *FORMS["celery"][3:], "work", "mail", "--once"])
    assert shop.notes() == ["1 1"]


def test_a_job_released_or_failed_on_a_named_connection_goes_back_there(mail_shop: Shop) -> None:
    mail_shop.python("import proj; proj.Stumble().on_connection('mail').dispatch()")
    mail_shop.work("mail", "--stop-when-empty", "--tries", "2")
    [failed] = mail_shop.failed()
    assert (failed["connection"], failed["attempts"]) == ("mail", 2)
    mail_shop.run([*FORMS["laraq"], "retry", failed["id"]])
    mail_shop.work("mail", "--stop-when-empty", "--tries", "3")
    assert [line.split()[1] for line in mail_shop.notes()] == ["1", "2", "1", "2", "3"]
    assert mail_shop.failed() == []


@pytest.mark.parametrize(
    ("connection", "answer"),
    [
        ("mial", "Connection 'mial' is not configured. Did you mean 'mail'?"),
        ("sync", "'sync' needs no worker"),
        ("here", "'here' is sync: work on the connections to which it sends jobs."),
        ("safe", "'safe' is failover"),
    ],
)
def test_a_connection_that_nobody_can_work_on_is_refused(
    connection: str, answer: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["laraq.current"], "_default", [])
    app = Celery("shop", broker=redis_url, set_as_current=False)
    Laraq(
        app,
        connections={
            "mail": {"url": redis_url, "queue": "mail"},
            "here": {"driver": "sync"},
            "safe": {"driver": "failover", "connections": ["default", "mail"]},
        },
    )
    result = CliRunner().invoke(laraq, ["work", connection], obj=SimpleNamespace(app=app))
    assert result.exit_code == 2
    assert answer in result.stderr
