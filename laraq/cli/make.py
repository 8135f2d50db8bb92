"""`laraq make`: write a new job or middleware, with a test beside it."""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass
from pathlib import Path

import click


@dataclass(frozen=True, slots=True)
class Stub:
    """What is written for one kind. `{Name}` and `{name}` are the class and its name as a variable, `{module}` where it
    is."""

    #: The module of the package that it goes to.
    module: str
    #: Module and name of each import that the code needs.
    imports: tuple[tuple[str, str], ...]
    code: str
    test: str


JOB = Stub(
    "jobs",
    (("laraq", "Job"),),
    '''
class {Name}(Job):
    """What it does."""

    tries = 3
    backoff = [10, 60]

    def handle(self) -> None:
        """Do it."""
''',
    """
from {module} import {Name}


def test_{name}_is_sent(queue_fake) -> None:
    {Name}.dispatch()
    queue_fake.assert_pushed({Name}, times=1)


def test_{name}_ends_well() -> None:
    job = {Name}().with_fake_queue_interactions()
    job.handle()
    job.assert_not_failed()
    job.assert_not_released()
""",
)

BATCH_JOB = Stub(
    "jobs",
    (("laraq", "Job"), ("laraq", "SkipIfBatchCancelled")),
    '''
class {Name}(Job):
    """What it does for its batch."""

    tries = 3

    def middleware(self) -> list[object]:
        """A batch that is cancelled runs none of its jobs."""
        return [SkipIfBatchCancelled()]

    def handle(self) -> None:
        """Do it; `self.batch()` is the batch."""
''',
    """
from laraq import Bus
from {module} import {Name}


def test_{name}_is_batched(bus_fake) -> None:
    Bus.batch([{Name}(), {Name}()]).dispatch()
    bus_fake.assert_batched([{Name}(), {Name}()])


def test_{name}_ends_well() -> None:
    job, batch = {Name}().with_fake_batch(total_jobs=1)
    job.handle()
    assert not batch.cancelled
""",
)

MIDDLEWARE = Stub(
    "middleware",
    (("collections.abc", "Callable"), ("typing", "Any"), ("laraq", "Job")),
    '''
class {Name}:
    """What it does around a job."""

    def handle(self, job: Job, next: Callable[[Job], Any]) -> Any:
        """Run the job by calling `next`; without it the job ends here as done."""
        return next(job)
''',
    """
from {module} import {Name}


def test_{name}_runs_the_job() -> None:
    assert {Name}().handle(None, lambda job: "done") == "done"
""",
)


@click.group()
def make() -> None:
    """Write a new job or middleware, with a test.

    NAME is a class, after the package it goes to if there is one: `shop.ChargeOrder` goes to shop/jobs.py, its test to
    tests/, or beside it if there is no such folder. Existing files are added to.
    """


@make.command()
@click.argument("name")
def job(name: str) -> None:
    """Write a job."""
    _write(JOB, name)


@make.command("batch-job")
@click.argument("name")
def batch_job(name: str) -> None:
    """Write a job for batches."""
    _write(BATCH_JOB, name)


@make.command()
@click.argument("name")
def middleware(name: str) -> None:
    """Write a middleware."""
    _write(MIDDLEWARE, name)


def _write(stub: Stub, name: str) -> None:
    *package, cls = name.split(".")
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in (*package, cls)):
        raise click.UsageError(f"Expected the name of a class, like shop.ChargeOrder, got {name!r}.")
    if package and not Path(*package).is_dir():
        raise click.UsageError(
            f"There is no package {'.'.join(package)!r} in this folder: {Path(*package)} is missing."
        )
    file = Path(*package, f"{stub.module}.py")
    names = {"Name": cls, "name": snake(cls), "module": ".".join((*package, stub.module))}
    tests = Path("tests") if Path("tests").is_dir() else file.parent
    test = tests / f"test_{names['name']}.py"
    source = file.read_text(encoding="utf-8") if file.exists() else ""
    try:
        code = with_code(source, stub.imports, stub.code.format(**names), cls)
    except (SyntaxError, ValueError) as error:
        raise click.ClickException(f"{file} cannot be added to: {error}") from None
    if test.exists():
        raise click.ClickException(f"{test} exists.")
    for path, text in ((file, code), (test, stub.test.format(**names).lstrip())):
        path.write_text(text, encoding="utf-8")
        click.echo(f"{'Added to' if path == file and source else 'Created'} {path}")


def with_code(source: str, imports: tuple[tuple[str, str], ...], code: str, name: str) -> str:
    """The source of a module with more code at its end, and what that needs imported behind the imports there are.

    Raises SyntaxError, or ValueError if the module has that name.
    """
    tree = ast.parse(source)
    body = tree.body
    known = {alias.asname or alias.name for one in body if isinstance(one, ast.ImportFrom) for alias in one.names}
    if any(getattr(one, "name", None) == name for one in body) or name in known:
        raise ValueError(f"it has a {name}.")
    lacking: dict[str, list[str]] = {}
    for module, what in imports:
        if what not in known:
            lacking.setdefault(module, []).append(what)
    lines = source.splitlines()
    added = [f"from {module} import {', '.join(names)}" for module, names in lacking.items()]
    imported = [one.end_lineno or 0 for one in body if isinstance(one, (ast.Import, ast.ImportFrom))]
    behind = imported[-1] if imported else 0
    if not imported and ast.get_docstring(tree) is not None:
        behind, added = body[0].end_lineno or 0, ["", *added]
    lines[behind:behind] = added
    return "\n".join(lines).rstrip() + "\n\n" + code


def snake(name: str) -> str:
    """`ChargeOrder` as `charge_order`, `SendSMSNow` as `send_sms_now`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
