"""The wheel in an environment without any extra: what a user does first."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

from tests.docs.blocks import DOCUMENTS, python_blocks
from tests.docs.running import run_document
from tests.wheel.conftest import Installed

#: Seconds until the quick start's two jobs have been tried twice, on a loaded machine.
PATIENCE = 60

#: What they print: two jobs, each charged at the second attempt.
EXPECTED = [
    f"order {order}: {cents} cents, attempt {attempt}" for order, cents in ((7, 100), (8, 250)) for attempt in (1, 2)
]


def test_nothing_but_what_laraq_depends_on_is_there(installed: Installed) -> None:
    code = "import laraq, importlib.util as u; print(laraq.__file__, *(n for n in NAMES if u.find_spec(n)))"
    names = ["rich", "cryptography", "cloudpickle", "psycopg", "pymysql", "dishka", "pytest"]
    said = subprocess.check_output(
        [installed.python, "-c", code.replace("NAMES", repr(names))], env=installed.env(), cwd="/", text=True
    )
    [file] = said.split()
    assert Path(file).is_relative_to(installed.bin.parent)


def test_the_program_and_the_module_tell_the_version(installed: Installed, tmp_path: Path) -> None:
    commands = [
        [installed.bin / "laraq", "--version"],
        [installed.python, "-m", "laraq", "--version"],
        [installed.python, "-c", "import laraq; print('laraq, version', laraq.__version__)"],
    ]
    said = {subprocess.check_output(command, env=installed.env(), cwd=tmp_path, text=True) for command in commands}
    assert len(said) == 1
    assert re.fullmatch(r"laraq, version [\d.]+\n", said.pop())


@pytest.mark.parametrize("broker", ["sqlite", "redis", "laraq-redis", "amqp", "postgres"])
def test_the_quick_start_of_the_readme(
    broker: str, installed: Installed, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    jobs, sending, shop = (block.source for block in python_blocks("README.md") if block.section == "Quick start")
    (tmp_path / "jobs.py").write_text(jobs)
    env, worker = installed.env(), [installed.bin / "laraq", "-A", "jobs", "work"]
    match broker:
        case "postgres":
            env = installed.env(extras=True, LARAQ_URL=request.getfixturevalue("postgres_url"))
            subprocess.run([installed.bin / "laraq", "-A", "jobs", "migrate"], env=env, cwd=tmp_path, check=True)
        case "redis" | "laraq-redis" | "amqp":
            url = request.getfixturevalue(f"{broker.removeprefix('laraq-')}_url")
            url = f"laraq-{url}" if broker == "laraq-redis" else url
            (tmp_path / "shop.py").write_text(shop.replace("redis://localhost", url))
            sending = f"import shop\n{sending}"
            worker = [installed.bin / "celery", "-A", "shop", "worker", "--loglevel", "info"]
    sent = subprocess.run(
        [installed.python, "-c", sending], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert sent.stderr.count("laraq.errors.InvalidJobError: ") == 1, sent.stderr
    assert ("go to the file" in sent.stderr) == (broker == "sqlite")
    with Popen(worker, env=env, cwd=tmp_path, stdout=PIPE, stderr=STDOUT, text=True) as process:
        assert process.stdout is not None
        stop = time.monotonic() + PATIENCE
        log, missing = "", set(EXPECTED)
        try:
            while missing and time.monotonic() < stop and (line := process.stdout.readline()):
                log += line
                missing -= {text for text in missing if text in line}
        finally:
            process.terminate()
            log += process.communicate(timeout=PATIENCE)[0]
    assert not missing, log
    assert process.returncode == 0, log


def test_the_demo_is_in_the_wheel(installed: Installed, tmp_path: Path) -> None:
    with Popen(
        [installed.bin / "laraq", "demo"],
        env=installed.env(TMPDIR=str(tmp_path)),
        cwd=tmp_path,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        log = ""
        while not re.search(r"^Import cities.csv: [1-9]\d* of ", log, re.M) and (line := process.stdout.readline()):
            log += line
        process.send_signal(signal.SIGINT)
        log += process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 130, log


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_of_a_document_runs(document: str, installed: Installed, tmp_path: Path) -> None:
    run_document(document, installed.python, tmp_path, installed.env(extras=True))
