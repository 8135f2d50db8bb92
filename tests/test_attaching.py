"""What attaching does to an app and to the process, beside making its jobs run."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from laraq import Job, Laraq, LaraqTask
from tests.support.project import Project


class Ship(Job):
    n: int = 0

    def handle(self) -> None: ...


def attach_and_use(n: int) -> list[weakref.ref[Any]]:
    app = Celery(f"app-{n}", broker="memory://", set_as_current=False)
    laraq = Laraq(app, store="memory://")

    @app.task(base=LaraqTask, name=f"task-{n}")
    def task() -> None: ...

    laraq.ready()
    with laraq:
        Ship.dispatch()
        task.delay()
    return [weakref.ref(app), weakref.ref(laraq)]


def test_attached_apps_go_with_whoever_holds_them() -> None:
    apps = [ref for n in range(20) for ref in attach_and_use(n)]
    gc.collect()
    assert [ref() for ref in apps if ref() is not None] == []


def test_an_app_that_is_gone_hears_of_no_class_and_is_nobodys_default() -> None:
    attach_and_use(100)
    gc.collect()

    class Later(Job):
        def handle(self) -> None: ...

    app = Celery("other", broker="memory://", set_as_current=False)
    with Laraq(app, store="memory://"):
        Later.dispatch()


@pytest.mark.parametrize("order", ["attached first", "attached last"])
def test_autodiscovery_finds_jobs_beside_tasks(tmp_path: Path, order: str) -> None:
    lines = ["queue = Laraq(app, store='memory://')", "app.autodiscover_tasks(['shop', 'blog'])"]
    lines = lines if order == "attached first" else lines[::-1]
    project = Project(
        tmp_path,
        {
            "shop/__init__.py": "",
            "shop/jobs.py": "from laraq import Job\nclass Ship(Job):\n    def handle(self): ...\n",
            "blog/__init__.py": "",
            "blog/tasks.py": "from celery import shared_task\n@shared_task\ndef post(): ...\n",
            "proj.py": "from celery import Celery\nfrom laraq import Laraq\napp = Celery('proj', broker='memory://')\n"
            + "\n".join(lines),
        },
    )
    printed = project.python("""
        from proj import app
        app.loader.import_default_modules()
        print(sorted(name for name in app.tasks if name.split(".")[0] in ("shop", "blog")))
    """)
    assert printed.strip() == "['blog.tasks.post', 'shop.jobs.Ship']"


def test_a_jobs_module_that_cannot_be_imported_says_why(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        {
            "shop/__init__.py": "",
            "shop/jobs.py": "import nothing_of_that_name",
            "proj.py": "from celery import Celery\nfrom laraq import Laraq\napp = Celery('proj', broker='memory://')\n"
            "Laraq(app)\napp.autodiscover_tasks(['shop'])\n",
        },
    )
    printed = project.python("""
        from proj import app
        try:
            app.loader.import_default_modules()
        except ModuleNotFoundError as error:
            print(error.name)
    """)
    assert printed.strip() == "nothing_of_that_name"


def imported(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_the_plugin_costs_other_commands_nothing_that_counts() -> None:
    celery = imported("import celery.bin.celery, celery.bin.worker")
    before = imported("import click, kombu.transport, celery.bin.base")
    ours = imported("import click, kombu.transport, celery.bin.base, laraq_celery.plugin") - before
    assert {name for name in celery if name.startswith("laraq")} <= ours  # loaded as a plugin, or by nothing here
    assert ours == {
        "laraq",
        "laraq.cli",
        "laraq.cli.group",
        "laraq.errors",
        "laraq.process",
        "laraq.process.plugins",
        "laraq_celery",
        "laraq_celery.plugin",
        "laraq_celery.transports",
    }


def test_a_broker_of_ours_is_known_to_every_celery_command() -> None:
    code = """
import celery.bin.base, laraq_celery.plugin
from kombu.transport import get_transport_cls
get_transport_cls("laraq-db")
"""
    assert "laraq_sqlalchemy.broker.transport" in imported(code)


@pytest.mark.parametrize("code", [
    "import laraq",
    "from laraq import Laraq, Job",
    "from celery import Celery\nfrom laraq import Laraq\napp = Celery('x', broker='redis://')\nLaraq(app)\napp.finalize()",
])  # fmt: skip
def test_attaching_imports_neither_pydantic_nor_a_store_nor_what_only_workers_need(code: str) -> None:
    loaded = imported(code)
    late = ("pydantic", "pydantic_core", "sqlalchemy", "redis", "svcs", "laraq_redis", "laraq_sqlalchemy")
    assert not {name for name in loaded if name.partition(".")[0] in late}
    steps = {name for name in loaded if name.startswith("laraq_celery.worker.steps.")}
    assert steps <= {"laraq_celery.worker.steps.install"}


@pytest.mark.parametrize(
    "first", ["import laraq.jobs.function, laraq.current", "from laraq import Job", "import laraq"]
)
def test_every_name_is_what_it_was_whatever_was_imported_before(first: str) -> None:
    code = f"""
{first}
import laraq, types
from laraq import *
modules = [name for name in laraq.__all__ if isinstance(getattr(laraq, name), types.ModuleType)]
assert modules == ["verdicts"]
assert laraq.job is job and laraq.current is current and current.__module__ == "laraq.current"
assert laraq.LaraqTask.__name__ == "LaraqTask" and set(laraq.__all__) <= set(dir(laraq))
try:
    laraq.nothing
except AttributeError as error:
    assert "'laraq' has no attribute 'nothing'" in str(error)
else:
    raise SystemExit("expected an AttributeError")
"""
    imported(code)
