"""A process forks while its threads dispatch jobs and use the store: the children can do the same at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.project import Project

#: How often each process forks.
FORKS = int(os.environ.get("LARAQ_TEST_FORKS", "20"))

SOURCE = """
    import faulthandler, os, sys, threading, time, warnings
    from celery import Celery
    from laraq import Job, Laraq

    app = Celery("proj", broker=os.environ["BROKER"])
    app.conf.update(broker_transport_options={"create_tables": True} if "laraq-db" in os.environ["BROKER"] else {})
    queue = Laraq(app, store=os.environ["STORE"])

    class Note(Job):
        what: str

        def handle(self) -> None: ...

    class Alone(Note):
        unique = True

        def unique_id(self) -> str:
            return self.what

    def use(what):
        Note.dispatch(what)
        Alone.dispatch(what)
        queue.store.locks.acquire(f"lock-{what}", "me", 10)
        queue.store.cache.put(f"value-{what}", "1", 10)
        queue.store.journal.write(f"writer-{what}", ())
        assert queue.store.cache.get(f"value-{what}") is not None

    def main(forks, patience):
        queue.migrate()
        use("parent")
        over, errors = threading.Event(), []

        def work(name):
            n = 0
            try:
                while not over.is_set():
                    n += 1
                    use(f"{name}-{n % 50}")
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        warnings.simplefilter("ignore", DeprecationWarning)
        children = {}
        for n in range(forks):
            time.sleep(0.005)
            pid = os.fork()
            if not pid:
                faulthandler.dump_traceback_later(patience - 1)
                status = 1
                try:
                    use(f"child-{n}")
                    Note.dispatch("once more")
                    status = 0
                finally:
                    os._exit(status)
            children[pid] = n
        over.set()
        ends_at, bad = time.monotonic() + patience, []
        while children and time.monotonic() < ends_at:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                n = children.pop(pid)
                if status:
                    bad.append(f"child {n} ended with {status}")
            else:
                time.sleep(0.01)
        for pid, n in children.items():
            bad.append(f"child {n} hangs")
            os.kill(pid, 9)
        for thread in threads:
            thread.join(20)
        print(bad + errors)
        sys.stdout.flush()
        os._exit(bool(bad or errors))
"""


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "laraq-redis", "amqp"])
def addresses(request: pytest.FixtureRequest) -> dict[str, str]:
    """Broker and store."""
    if request.param in ("sqlite", "postgres", "mariadb"):
        url = request.getfixturevalue(f"{request.param}_url")
        return {"BROKER": f"laraq-db+{url}", "STORE": url}
    redis_url = request.getfixturevalue("redis_url")
    if request.param == "amqp":
        return {"BROKER": request.getfixturevalue("amqp_url"), "STORE": redis_url}
    return {"BROKER": f"{request.param.removesuffix('redis')}{redis_url}", "STORE": redis_url}


def test_children_forked_beside_busy_threads_dispatch_at_once(addresses: dict[str, str], tmp_path: Path) -> None:
    project = Project(tmp_path, {"proj.py": SOURCE}, env=addresses)
    project.python(f"import proj; proj.main({FORKS}, 30)", timeout=90)
