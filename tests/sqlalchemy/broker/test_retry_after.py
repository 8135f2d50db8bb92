"""Where a worker learns how long its jobs may stay without a sign of life."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from laraq import Laraq
from laraq.errors import ConfigurationError
from laraq_celery.transports import lease_options
from laraq_kombu import FOREVER, lease_seconds
from tests.sqlalchemy.broker.celery_app import rows
from tests.support.project import Project
from tests.support.waiting import wait_until

JOBS = """
    import os, time
    from celery import Celery
    from laraq import Job, Laraq

    app = Celery("proj", broker="laraq-db+" + os.environ["HOME_DATABASE"])
    mail = {"url": "laraq-db+" + os.environ["MAIL_DATABASE"], "retry_after": 7, "queue": "mail"}
    connections = {"mail": mail, "default": eval(os.environ["DEFAULT"])}
    queue = Laraq(app, store=os.environ["HOME_DATABASE"], connections=connections)

    class Slow(Job):
        def handle(self):
            open("started", "w").close()
            time.sleep(60)
"""


@pytest.mark.parametrize(
    ("said", "options", "expected"),
    [
        (7, {"retry_after": 8}, 7),
        (None, {"retry_after": 8}, 8),
        (None, {}, 90),
        (0.5, {}, 0.5),
    ],
)
def test_the_connection_comes_before_the_apps_options_and_those_before_the_setting(
    said: float | None, options: dict[str, Any], expected: float
) -> None:
    assert lease_options("laraq-db+sqlite:///x", {"poll": 3, **options}, said, 90) == {
        "poll": 3,
        "retry_after": expected,
    }


@pytest.mark.parametrize("value", [0, -1, "soon", float("nan"), float("inf"), [], "1e30"])
def test_what_is_no_length_of_time_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="retry_after must be a number of seconds above 0, or None"):
        lease_seconds(value)


@pytest.mark.parametrize("where", ["code", "app"])
def test_none_is_something_to_say_in_the_settings(where: str) -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    if where == "app":
        app.conf.laraq_retry_after = None
    laraq = Laraq(app, **({"retry_after": None} if where == "code" else {}))
    assert laraq.settings.retry_after is None


def test_other_brokers_get_no_option_they_would_refuse() -> None:
    assert lease_options("amqp://", {"confirm_publish": True}, 7, 90) == {"confirm_publish": True}


@pytest.mark.parametrize(
    ("command", "args", "default", "environment", "expected"),
    [
        ("laraq", ["mail"], "{}", {}, 7),
        ("celery", [], "{}", {"LARAQ_RETRY_AFTER": "11"}, 11),
        ("celery", [], "{'retry_after': 13}", {"LARAQ_RETRY_AFTER": "11"}, 13),
        ("celery", [], "{'retry_after': None}", {"LARAQ_RETRY_AFTER": "11"}, FOREVER),
    ],
    ids=["named connection", "setting", "default connection", "None is for ever"],
)
def test_a_worker_leases_for_that_long(
    tmp_path: Path, command: Any, args: Sequence[str], default: str, environment: dict[str, str], expected: float
) -> None:
    databases = {name: f"sqlite:///{tmp_path / name}.db" for name in ("home", "mail")}
    env = {"HOME_DATABASE": databases["home"], "MAIL_DATABASE": databases["mail"], "DEFAULT": default, **environment}
    project = Project(tmp_path, {"proj.py": JOBS}, env=env)
    name = "mail" if args else "default"
    with project.worker(command=command, args=args):
        project.python(f"import proj; proj.Slow().on_connection({name!r}).dispatch()")
        wait_until((tmp_path / "started").exists, timeout=15)
        now = time.time() * 1000
        database = databases["mail" if args else "home"]
        [(reserved_at, until)] = rows(database, "SELECT reserved_at, available_at FROM laraq_jobs")
    assert reserved_at + expected * 1000 <= until <= now + expected * 1000
