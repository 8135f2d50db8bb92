"""Jobs as Celery sees them: registered, routed, inspected, revoked, told of in events; and on other connections."""

from __future__ import annotations

from pathlib import Path

from tests.life.conftest import PREAMBLE, Stage
from tests.support.project import Project


def test_jobs_are_found_wherever_and_whenever_they_are_defined(stage: Stage) -> None:
    files = {
        "shop/__init__.py": "",
        "shop/jobs.py": """
from proj import Job, note, record
class Discovered(Job):
    def handle(self):
        note("ran", job="Discovered")
""",
    }
    project = stage.project(
        """
        app.conf.laraq_discover = ["shop"]
        app.conf.task_routes = {"proj.Routed": {"queue": "special"}}
        app.finalize()

        class Late(Job):
            def handle(self):
                note("ran", job="Late")

        class Routed(Job):
            def handle(self):
                note("ran", job="Routed", queue=app.current_task.request.delivery_info["routing_key"])

        other = Celery("other", broker=os.environ["BROKER"], set_as_current=False)
        other_queue = Laraq(other, store=os.environ["STORE"])
        """,
        **files,
    )
    with project.worker(queues=["celery", "special"]) as worker:
        printed = project.python("""
            import proj, shop.jobs
            proj.Late.dispatch()
            shop.jobs.Discovered.dispatch()
            proj.Routed.dispatch()
            with proj.other_queue:
                proj.Late.dispatch()
            print("proj.Late" in proj.other.tasks, proj.app.tasks["proj.Late"] is proj.other.tasks["proj.Late"])
        """)
        stage.wait_for("ran", times=4)
        assert worker.terminate() == 0
    assert printed.split() == ["True", "False"]
    jobs = sorted(note["job"] for note in stage.noted("ran"))
    assert jobs == ["Discovered", "Late", "Late", "Routed"]
    assert stage.noted("ran", job="Routed")[0]["queue"] == "special"


def test_inspect_events_and_revoke_know_jobs(stage: Stage) -> None:
    project = stage.project("""
        class Slow(Job):
            tries = 3

            def handle(self):
                note("start", id=self.id)
                time.sleep(0.1 if self.tags == ["quick"] else 30)

            def failed(self, error):
                note("failed")

        @job
        def quick(n: int):
            return n
    """)
    with project.worker(args=["-E"]):
        printed = project.python("""
            import threading, time
            import proj
            from celery.events import EventReceiver

            seen, ready = [], threading.Event()
            def listen():
                with proj.app.connection_for_read() as connection:
                    receiver = EventReceiver(connection, app=proj.app, handlers={
                        "task-started": lambda event: seen.append("started"),
                        "task-succeeded": lambda event: seen.append("succeeded"),
                        "worker-heartbeat": lambda event: ready.set(),
                    })
                    receiver.capture(limit=None, timeout=20, wakeup=True)
            threading.Thread(target=listen, daemon=True).start()
            ready.wait(15)
            proj.quick.dispatch(1)
            for _ in range(500):
                if "succeeded" in seen: break
                time.sleep(0.02)
            running, waiting = proj.Slow.dispatch(), proj.Slow.dispatch()
            inspect = proj.app.control.inspect(timeout=2)
            for _ in range(100):
                active = [task["name"] for tasks in (inspect.active() or {}).values() for task in tasks]
                if active: break
            registered = [name.split()[0] for names in inspect.registered().values() for name in names]
            proj.app.control.revoke(waiting.id)
            proj.app.control.revoke(running.id, terminate=True)
            print(seen[:2], active, "proj.Slow" in registered, "proj.quick" in registered)
            for _ in range(100):
                if not [task for tasks in (inspect.active() or {}).values() for task in tasks]: break
        """)
    assert printed.strip() == "['started', 'succeeded'] ['proj.Slow'] True True"
    assert len(stage.noted("start")) == 1, "the revoked job never started, the terminated one is not started again"
    assert stage.noted("failed") == []


def test_a_timed_out_job_tells_celerys_errback_and_listeners_once(stage: Stage) -> None:
    """Stock Celery 5.7 reports a hard time limit twice (request.py)."""
    project = stage.project("""
        from celery import signals

        class Hangs(Job):
            timeout = 1

            def handle(self):
                while True:
                    try: time.sleep(60)
                    except Exception: pass

        @app.task
        def errback(id):
            note("errback")

        signals.task_failure.connect(lambda **facts: note("task_failure"), weak=False)
        Queue.failing(lambda event: note("failing"))
    """)
    with project.worker() as worker:
        project.python("import proj; proj.Hangs.apply_async(link_error=proj.errback.si(1))")
        stage.wait_for("errback")
        stage.wait_for("failing")
        assert worker.terminate() == 0
    assert [len(stage.noted(what)) for what in ("errback", "task_failure", "failing")] == [1, 1, 1]


def test_named_connections_publish_to_other_brokers(tmp_path: Path, redis_url: str, amqp_url: str) -> None:
    stage = Stage(tmp_path, redis_url, redis_url, "")
    source = PREAMBLE.replace(
        'Laraq(app, store=os.environ["STORE"])',
        'Laraq(app, store=os.environ["STORE"], connections={"emails": {"url": os.environ["MAIL"], "queue": "mail"},'
        ' "safe": {"driver": "failover", "connections": ["dead", "emails"]},'
        ' "dead": {"url": "amqp://localhost:1//"}})\napp.conf.task_publish_retry = False',
    )
    source += """
class Send(Job):
    def handle(self):
        note("sent", queue=app.current_task.request.delivery_info["routing_key"])
"""
    project = Project(tmp_path, {"proj.py": source}, env={"BROKER": redis_url, "STORE": redis_url, "MAIL": amqp_url})
    with project.worker(command="laraq", args=["emails"]):
        project.python("""
            import proj
            from laraq import Events, events
            from laraq.errors import ConnectionNotFoundError, DispatchError
            proj.Send().on_connection("emails").dispatch()
            failed_over = []
            Events.listen(events.QueueFailedOver, lambda event: failed_over.append(event.connection))
            proj.Send().on_connection("safe").dispatch()
            assert failed_over == ["dead"], failed_over
            for name, expected in ("dead", DispatchError), ("emials", ConnectionNotFoundError):
                try: proj.Send().on_connection(name).dispatch()
                except expected as error: print(error)
                else: raise AssertionError(name)
        """)
        stage.wait_for("sent", times=2)
    assert {note["queue"] for note in stage.noted("sent")} == {"mail"}
    stage.close()


def test_mapped_instances_travel_to_the_worker_and_back(redis_stage: Stage, sqlite_url: str) -> None:
    source = PREAMBLE.replace("Laraq(app, ", "Laraq(app, sessions=Session, ").replace(
        "app = Celery",
        """
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.orm import Session as OrmSession

engine = create_engine(os.environ["MODELS"])
Session = sessionmaker(engine, expire_on_commit=False)

class Base(DeclarativeBase): pass
class Podcast(Base):
    __tablename__ = "podcasts"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]

app = Celery""",
        1,
    )
    source += """
class Publish(Job):
    podcast: Podcast
    others: list[Podcast] = ()
    delete_when_missing_models = True

    def handle(self, session: OrmSession):
        self.podcast.title += "!"
        session.commit()
        note("published", title=self.podcast.title, others=[other.id for other in self.others])

class Strict(Job):
    podcast: Podcast
    def handle(self): note("never")

Queue.after(lambda event: note("processed", job=event.name))
"""
    redis_stage._env["MODELS"] = sqlite_url
    project = Project(redis_stage._folder, {"proj.py": source}, env=redis_stage._env)
    project.python("""
        from proj import *
        Base.metadata.create_all(engine)
        with Session() as session:
            rows = [Podcast(id=n, title=f"number {n}") for n in (1, 2, 3)]
            session.add_all(rows); session.commit()
        Publish.dispatch(rows[0], [rows[2], rows[1]])
        Publish.dispatch(rows[1]); Strict.dispatch(rows[1])
        with Session() as session:
            session.delete(session.get(Podcast, 2)); session.commit()
    """)
    with project.worker():
        redis_stage.wait_for("processed", times=2)
        [failed] = redis_stage.wait_for_failed()
    [published] = redis_stage.noted("published")
    assert (published["title"], published["others"]) == ("number 1!", [3])
    assert failed.job == "proj.Strict"
    assert "ModelNotFoundError" in failed.exception
