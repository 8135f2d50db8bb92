from __future__ import annotations

from collections.abc import Callable

from click.testing import Result

from laraq import Laraq, Queue

Call = Callable[..., Result]


def test_a_queue_is_paused_and_resumed(queue: Laraq, call: Call) -> None:
    with queue:
        assert call("pause", "high").stdout == "Paused: default:high\n"
        assert Queue.paused("high")
        assert call("resume", "redis:high").stdout == "Resumed: default:high\n"
        assert not Queue.paused("high")


def test_without_a_name_it_is_the_default_queue(call: Call) -> None:
    assert call("pause", "--for", "60").stdout == "Paused: default:celery, for 60 s\n"
    assert call("resume").stdout == "Resumed: default:celery\n"


def test_what_stays_paused_is_said(call: Call) -> None:
    assert call("pause", "--all").stdout == "Paused: all queues\n"
    call("pause", "high")
    assert call("resume", "high").stderr == "Still paused: all queues\n"
    call("pause", "high")
    both = call("resume", "--all")
    assert (both.stdout, both.stderr) == ("Resumed: all queues\n", "Still paused: default:high\n")


def test_what_was_not_paused_is_a_problem(call: Call) -> None:
    assert (call("resume", "high").exit_code, call("resume", "--all").exit_code) == (1, 1)
    assert call("resume", "high").stderr == "Error: Not paused: default:high.\n"


def test_a_name_and_all_exclude_each_other(call: Call) -> None:
    assert [call(command, "high", "--all").exit_code for command in ("pause", "resume")] == [2, 2]
