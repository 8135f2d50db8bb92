"""Messages that are no jobs, are of tomorrow, or were changed on the way: nothing loops, nothing is lost."""

from __future__ import annotations

import base64
import json

from tests.life.conftest import Stage

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()

ORDERS = f"""
queue.settings  # read before the worker forks
app.conf.laraq_keys = ["{KEY}"]

class Order(Job):
    number: int

    tries = 3

    def handle(self):
        note("ran", number=self.number, attempt=self.attempts)

class Secret(Job):
    pin: str

    encrypted = True

    def handle(self):
        note("secret", pin=self.pin)
        raise ValueError("nothing of the fields is said")
""".replace("queue.settings  # read before the worker forks\n", "")

#: Publishes raw bytes as a message of the named task.
PUBLISH = """
import os, sys, json, uuid
from kombu import Connection
from celery import Celery

app = Celery("raw", broker=os.environ["BROKER"])

def publish(task, body, laraq=None, content_type="application/json", **headers):
    id = str(uuid.uuid4())
    headers = {"lang": "py", "task": task, "id": id, "root_id": id, "retries": 0, **headers}
    if laraq is not None:
        headers["laraq"] = laraq
    with app.producer_or_acquire() as producer:
        producer.publish(body, exchange="", routing_key="celery", declare=[app.amqp.queues["celery"]], headers=headers,
            content_type=content_type, content_encoding="utf-8", correlation_id=id)
    return id
"""


def test_wrong_types_are_refused_before_anything_is_sent(stage: Stage) -> None:
    project = stage.project(ORDERS)
    printed = project.python("""
        import proj
        from laraq.errors import InvalidJobError
        for send in (proj.Order.dispatch, proj.Order.delay, lambda *args: proj.Order.s(*args).apply_async()):
            try:
                send("many")
            except InvalidJobError as error:
                print(str(error).splitlines()[0], "/", str(error).splitlines()[1])
        with proj.app.connection_for_read() as connection:
            queue = proj.app.amqp.queues["celery"](connection.default_channel)
            queue.declare()
            print("queued:", queue.get())
    """)
    refusal = "1 validation error for proj.Order / number"
    assert printed.splitlines() == [refusal, refusal, refusal, "queued: None"]


def test_garbage_is_recorded_with_its_raw_body_and_the_worker_goes_on(stage: Stage) -> None:
    project = stage.project(ORDERS, **{"raw.py": PUBLISH})
    bodies = [b"\xff\xfe not json", b"[1, 2", b'{"no": "list"}', b"[[], {}, {}, {}]", b"42"]
    with project.worker():
        ids = project.python(f"""
            from raw import publish
            for body in {bodies!r}:
                print(publish("proj.Order", body, {{"v": 1}}))
            print(publish("proj.Order", b"x", {{"v": 1}}, content_type="application/x-python-serialize"))
        """).split()
        failed = {record.id: record for record in stage.wait_for_failed(len(ids))}
        project.python("import proj; proj.Order.dispatch(7)")
        stage.wait_for("ran", number=7)
    for id, body in zip(ids, [*bodies, b"x"], strict=True):
        assert base64.b64decode(failed[id].payload["raw"]) == body
        assert "PayloadError" in failed[id].exception


def test_fields_that_do_not_fit_are_failed_at_once_and_kept(stage: Stage) -> None:
    project = stage.project(ORDERS)
    with project.worker():
        project.python("import proj; proj.app.send_task('proj.Order', kwargs={'number': 'seven', 'colour': 'red'})")
        [failed] = stage.wait_for_failed()
    assert failed.payload["kwargs"] == {"number": "seven", "colour": "red"}
    assert "number" in failed.exception
    assert "colour" in failed.exception
    assert failed.attempts == 1


def test_encrypted_fields_show_nowhere_and_a_changed_cipher_is_refused(stage: Stage) -> None:
    project = stage.project(ORDERS, **{"raw.py": PUBLISH})
    with project.worker() as worker:
        project.python("""
            import proj
            from raw import publish
            proj.Secret.dispatch("4711")
            publish("proj.Secret", b'[[], {"__encrypted__": "gAAAAABmZmZmZmZmZm"}, {}]', {"v": 1})
        """)
        records = stage.wait_for_failed(2)
        assert len(stage.noted("secret", pin="4711")) == 1
        log = worker.log
    assert "4711" not in log
    for record in records:
        assert "4711" not in json.dumps(record.to_dict())
    assert any("TamperedPayloadError" in record.exception for record in records)


def test_a_job_of_an_unknown_class_waits_for_the_deploy(stage: Stage) -> None:
    project = stage.project(
        ORDERS,
        **{
            "tomorrow.py": """
from proj import Job, app, note, queue

class New(Job):
    def handle(self):
        note("new", attempt=self.attempts)
"""
        },
    )
    with project.worker() as old:
        project.python("import tomorrow; tomorrow.New.dispatch()")
        old.wait_for_log("Job 'tomorrow.New' is unknown to this worker")
        old.wait_for_log("retry: released")
        assert old.terminate() == 0
    with project.worker(args=["--include", "tomorrow"]):
        [note] = stage.wait_for("new", timeout=40)
    assert note["attempt"] == 1, "it was never started before"
    assert stage.failed() == []


def test_a_newer_payload_version_goes_back_and_fails_after_its_tries(redis_stage: Stage) -> None:
    project = redis_stage.project(ORDERS, **{"raw.py": PUBLISH})
    with project.worker():
        project.python("""
            from raw import publish
            header = {"v": 99, "options": {"tries": 1}, "novelty": [1]}
            publish("proj.Order", b'[[], {"number": 1}, {}]', header)
        """)
        [failed] = redis_stage.wait_for_failed()
    assert "UnsupportedPayloadError" in failed.exception


def test_an_unknown_ordinary_task_stays_celerys_affair(redis_stage: Stage) -> None:
    project = redis_stage.project(ORDERS)
    with project.worker() as worker:
        project.python("import proj; proj.app.send_task('nobody.knows')")
        worker.wait_for_log("Received unregistered task of type 'nobody.knows'")
        project.python("import proj; proj.Order.dispatch(1)")
        redis_stage.wait_for("ran")
    assert redis_stage.failed() == []
