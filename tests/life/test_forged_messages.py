"""Who writes to the broker runs the application's jobs, and nothing else: real workers, with and without keys."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from tests.life.conftest import Stage

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()

PIN = "a-pin-to-look-for"

#: {keys}: the setting, or nothing.
JOBS = """
import tools
app.conf.update({keys})

class Order(Job):
    number: int
    tries = 1

    def handle(self):
        note("ran", number=self.number)

class Breaks(Job):
    def handle(self):
        raise ValueError("as it should")

class Secret(Job):
    pin: str
    encrypted = True

    def handle(self):
        note("secret")

class OtherSecret(Secret):
    def handle(self):
        note("secret")
"""

#: Imported by the application, or not at all: its functions and classes are nobody's to call.
TOOLS = """
import os, pathlib
HERE = pathlib.Path(__file__).parent

def wipe(*about):
    (HERE / f"wiped by {__name__}").touch()

class Evil:
    def handle(self, job, next):
        wipe()
        return next(job)

class Error(Exception):
    def __init__(self, *args):
        wipe()
"""

FORGE = """
import os, sys, json, uuid
from celery import Celery

app = Celery("raw", broker=os.environ["BROKER"])
sent = []

def publish(task, fields={}, header={}, id=None):
    id = id or str(uuid.uuid4())
    headers = {"lang": "py", "task": task, "id": id, "root_id": id, "retries": 0, "laraq": {"v": 1, **header}}
    with app.producer_or_acquire() as producer:
        producer.publish([[], fields, {}], exchange="", routing_key="celery", serializer="json",
            declare=[app.amqp.queues["celery"]], headers=headers, correlation_id=id)
    sent.append(id)

def function(name):
    return {"function": name, "code": None, "signature": None}
"""

CLOSURE, CALLBACK = "laraq.closures.CallQueuedClosure", "laraq.callbacks.CallQueuedCallback"


@pytest.mark.parametrize("keys", ["", f"laraq_keys=['{KEY}']"], ids=["without keys", "with keys"])
def test_a_message_connects_imports_and_calls_nothing(redis_stage: Stage, keys: str, tmp_path: Path) -> None:
    project = redis_stage.project(JOBS.format(keys=keys), **{"tools.py": TOOLS, "lurking.py": TOOLS, "forge.py": FORGE})
    made = tmp_path / "made.db"
    with project.worker():
        ids = json.loads(
            project.python(f"""
                from forge import publish, sent, function
                for module in ("tools", "lurking"):
                    once = {{"options": {{"tries": 1}}}}
                    publish("proj.Order", {{"number": 1}}, {{"through": [{{"class": f"{{module}}.Evil"}}], **once}})
                    publish("{CLOSURE}", function(f"{{module}}.wipe"))
                    publish("{CLOSURE}", {{**function("nowhere.f"), "catchers": [function(f"{{module}}.wipe")]}})
                    publish("{CALLBACK}", {{"function": function(f"{{module}}.wipe")}})
                    error = {{"type": f"{{module}}.Error", "message": "", "args": ["x"]}}
                    publish("{CALLBACK}", {{"function": function("proj.note"), "error": error}})
                print(__import__("json").dumps(sent))
            """)
        )
        project.python(f"""
            from forge import publish, function
            for via in ("sqlite:///{made}", "redis://10.255.255.1:6379/0"):
                publish("proj.Order", {{"number": 2}}, {{"unique": {{"key": "unique:k", "owner": "o", "via": via}}}})
            calls = [{{"call": function(f"{{module}}.wipe")}} for module in ("tools", "lurking")]
            publish("proj.Breaks", {{}}, {{"chain": {{"catch": calls}}}})
            publish("proj.Order", {{"number": 3}})
        """)
        redis_stage.wait_for("ran", number=3, timeout=20)
        failed = redis_stage.wait_for_failed(len(ids) + 3)  # and what breaks, with what it called in vain
    assert len(redis_stage.noted("ran", number=2)) == 2
    assert redis_stage.noted("ran", number=1) == []
    assert not made.exists()
    assert list(tmp_path.glob("wiped by *")) == []
    assert {record.id for record in failed} >= set(ids) - ({ids[4], ids[9]} if not keys else set())


def test_an_encrypted_job_takes_only_its_own_token(redis_stage: Stage) -> None:
    project = redis_stage.project(JOBS.format(keys=f"laraq_keys=['{KEY}']"), **{"tools.py": TOOLS, "forge.py": FORGE})
    with project.worker() as worker:
        ids = json.loads(
            project.python(f"""
                import json
                import proj
                from forge import publish, sent
                token = lambda id: proj.queue.packer.payload(proj.Secret("{PIN}"), id).fields
                publish("proj.Secret", {{"pin": "{PIN}"}})
                publish("proj.Secret", {{**token("a"), "pin": "{PIN}"}}, id="a")
                publish("proj.OtherSecret", token("b"), id="b")
                publish("proj.Secret", token("b"), id="c")
                print(json.dumps(sent))
                publish("proj.Secret", token("d"), id="d")
                proj.Secret.dispatch("{PIN}")
            """)
        )
        redis_stage.wait_for("secret", 2)
        failed = {record.id: record for record in redis_stage.wait_for_failed(len(ids))}
        log = worker.log
    assert failed.keys() == set(ids)
    assert all("TamperedPayloadError" in record.exception for record in failed.values())
    assert PIN not in log
    assert PIN not in json.dumps([record.to_dict() for record in failed.values()])
    assert PIN not in project.run([str(Path(sys.executable).parent / "laraq"), "-A", "proj", "failed", ids[0]])
    assert len(redis_stage.noted("secret")) == 2
