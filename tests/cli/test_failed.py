"""`laraq failed`."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import Result

from laraq.cli.failed import HIDDEN, last_error
from laraq.messages.failure import FailedJob
from laraq.messages.payload import CIPHER, Payload
from tests.cli.programs import CELERY, LARAQ, run_in_terminal

Call = Callable[..., Result]
Fail = Callable[..., FailedJob]


def test_the_list_is_aligned_text_in_a_pipe(call: Call, fail: Fail) -> None:
    fail("old", hours_ago=1, queue="high")
    newest = fail("a-longer-id", exception="KeyError: 'x'")
    assert call("failed").stdout.splitlines() == [
        "ID           FAILED AT (UTC)      JOB        QUEUE   ERROR",
        f"a-longer-id  {newest.failed_at:%Y-%m-%d %H:%M:%S}  shop.Note  celery  KeyError: 'x'",
        f"old          {fail('old', hours_ago=1).failed_at:%Y-%m-%d %H:%M:%S}  shop.Note  high    ValueError: no",
    ]


def test_the_list_shows_the_name_a_job_was_given(call: Call, fail: Fail) -> None:
    payload = Payload("a", "laraq.callbacks.CallQueuedCallback", options={"display_name": "then of batch Import"})
    fail("a", job=payload.job, payload=payload.to_dict())
    assert "  then of batch Import  " in call("failed").stdout


def test_no_failed_job_is_no_problem(call: Call) -> None:
    assert call("failed").stdout == "No failed jobs.\n"
    assert call("failed", "--json").stdout == "[]\n"
    assert call("failed").exit_code == 0


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["c", "b", "a"]),
        (["--queue", "high"], ["c", "a"]),
        (["--job", "shop.Ship"], ["b", "a"]),
        (["--queue", "high", "--job", "shop.Ship"], ["a"]),
        (["--limit", "2"], ["c", "b"]),
    ],
)
def test_options_choose_from_the_list(call: Call, fail: Fail, options: list[str], ids: list[str]) -> None:
    fail("a", hours_ago=3, queue="high", job="shop.Ship")
    fail("b", hours_ago=2, job="shop.Ship")
    fail("c", hours_ago=1, queue="high")
    listed = json.loads(call("failed", "--json", *options).stdout)
    assert [each["id"] for each in listed] == ids


def test_the_json_list_is_a_summary(call: Call, fail: Fail) -> None:
    failed = fail("a", tags=("vip",), batch_id="b1")
    assert json.loads(call("failed", "--json").stdout) == [
        {
            "id": "a",
            "connection": "default",
            "queue": "celery",
            "job": "shop.Note",
            "failed_at": failed.failed_at.isoformat(),
            "attempts": 1,
            "tags": ["vip"],
            "batch_id": "b1",
            "error": "ValueError: no",
        }
    ]


def test_one_is_shown_whole(call: Call, fail: Fail) -> None:
    failed = fail("a", tags=("vip", "eu"), exception="Traceback ...\nValueError: no")
    shown = call("failed", "a").stdout
    assert "Job         shop.Note\n" in shown
    assert "Tags        vip, eu\n" in shown
    assert '  "kwargs": {\n    "n": 1\n  },' in shown
    assert shown.endswith("Exception\nTraceback ...\nValueError: no\n")
    assert json.loads(call("failed", "a", "--json").stdout) == failed.to_dict()


def test_an_unknown_id_is_a_problem(call: Call) -> None:
    result = call("failed", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: No failed job has the id nobody.\n"


@pytest.mark.parametrize("arguments", [["failed"], ["failed", "--json"], ["failed", "a"], ["failed", "a", "--json"]])
def test_the_fields_of_an_encrypted_job_are_not_shown(call: Call, fail: Fail, arguments: list[str]) -> None:
    fail("a", payload=Payload("a", "shop.Secret", {CIPHER: "gAAAAAB"}).to_dict())
    shown = call(*arguments)
    assert shown.exit_code == 0
    assert "gAAAAAB" not in shown.stdout
    assert (HIDDEN in shown.stdout) == ("a" in arguments)


def test_what_a_job_wrote_does_not_steer_the_terminal(call: Call, fail: Fail) -> None:
    fail("a", exception="ValueError: \x1b[2Jgone\r\nand \tmore")
    for arguments in (["failed"], ["failed", "a"]):
        assert "\x1b" not in call(*arguments).stdout
        assert "\r" not in call(*arguments).stdout


def test_a_store_that_is_down_is_told_with_exit_status_1(tmp_path: Path, call: Call) -> None:
    (tmp_path / "proj.py").write_text(
        "from celery import Celery; from laraq import Laraq\n"
        "app = Celery('shop', broker='redis://:secret@127.0.0.1:1/0'); Laraq(app)"
    )
    status, screen = run_in_terminal([*CELERY, "-A", "proj", "laraq", "failed"], folder=tmp_path)
    assert status == 1
    assert screen.startswith("Error: ")
    assert "127.0.0.1:1" in screen
    assert "secret" not in screen


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_a_table(
    tmp_path: Path, redis_url: str, fail: Fail, env: Mapping[str, str], coloured: bool
) -> None:
    fail("a", exception="ValueError: [bold]no[/bold]")
    (tmp_path / "proj.py").write_text(
        f"from celery import Celery; from laraq import Laraq\napp = Celery('shop', broker={redis_url!r}); Laraq(app)"
    )
    status, screen = run_in_terminal([*CELERY, "-A", "proj", "laraq", "failed"], folder=tmp_path, env=env)
    assert status == 0
    assert "──" in screen
    assert "ValueError: [bold]no[/bold]" in screen
    assert ("\x1b[" in screen) == coloured


def test_without_rich_a_terminal_gets_aligned_text(tmp_path: Path, redis_url: str, fail: Fail) -> None:
    fail("a")
    (tmp_path / "proj.py").write_text(
        "import sys; sys.modules['rich'] = None\n"
        f"from celery import Celery; from laraq import Laraq\napp = Celery('shop', broker={redis_url!r}); Laraq(app)"
    )
    status, screen = run_in_terminal([*CELERY, "-A", "proj", "laraq", "failed"], folder=tmp_path)
    assert status == 0
    assert screen.startswith("ID  FAILED AT (UTC)")


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_a_list_fits_the_terminal_unless_it_may_be_wide(tmp_path: Path, redis_url: str, fail: Fail, rich: bool) -> None:
    id = "3c0b8a52-2f0e-4b6e-9a55-0d7f8f2f1a11"
    fail(id, job="shop.billing.refunds.ChargeOrder", exception="ConnectionError: " + "no answer " * 20)
    (tmp_path / "proj.py").write_text(
        ("" if rich else "import sys; sys.modules['rich'] = None\n")
        + f"from celery import Celery; from laraq import Laraq\napp = Celery('shop', broker={redis_url!r}); Laraq(app)"
    )
    command = [*LARAQ, "-A", "proj", "failed"]
    _, narrow = run_in_terminal(command, folder=tmp_path, columns=80, env={"NO_COLOR": "1"})
    lines = narrow.strip("\n").splitlines()
    assert len(lines) == 2 + rich, "nothing is folded"
    assert max(map(len, lines)) <= 80
    assert id in narrow
    assert "ChargeOrder" in narrow
    assert "\N{HORIZONTAL ELLIPSIS}" in narrow
    _, wide = run_in_terminal([*command, "--wide"], folder=tmp_path, columns=80, env={"NO_COLOR": "1"})
    assert ("no answer " * 20).strip() in wide


def test_a_long_error_is_shown_in_a_pager(tmp_path: Path, redis_url: str, fail: Fail) -> None:
    fail("a", exception="\n".join(f"line {n}" for n in range(100)))
    (tmp_path / "proj.py").write_text(
        f"from celery import Celery; from laraq import Laraq\napp = Celery('shop', broker={redis_url!r}); Laraq(app)"
    )
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\nexec cat > {tmp_path / 'paged'}\n")
    pager.chmod(0o755)
    command = [*LARAQ, "-A", "proj", "failed", "a"]
    status, screen = run_in_terminal(command, folder=tmp_path, env={"PAGER": str(pager)})
    assert (status, screen) == (0, "")
    assert (tmp_path / "paged").read_text().splitlines()[-100:] == [f"line {n}" for n in range(100)]


def _traceback_of(code: str) -> str:
    try:
        exec(code, {})
    except Exception as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("exception", "line"),
    [
        (_traceback_of("1 / 0"), "ZeroDivisionError: division by zero"),
        (_traceback_of("raise ValueError('first\\n    second')"), "ValueError: first"),
        (_traceback_of("try: 1 / 0\nexcept Exception as e: raise KeyError('k') from e"), "KeyError: 'k'"),
        (_traceback_of("import struct; struct.pack('i')"), "struct.error: pack expected 1 items for packing (got 0)"),
        ("laraq.errors.JobLostError: gone", "laraq.errors.JobLostError: gone"),
        ("", ""),
    ],
)
def test_the_error_is_the_line_that_names_the_exception(fail: Fail, exception: str, line: str) -> None:
    assert last_error(fail("a", exception=exception)) == line
