"""DelayedSuite: what every Delayed must do."""

from __future__ import annotations

import time
from functools import partial

import pytest

from laraq.ports import Delayed, DelayedMessage
from laraq.testing.suite.board import Board
from laraq.testing.suite.forking import eventually, in_children

#: Seconds no test takes to end.
LONG = 60.0
#: Seconds of a delay whose end a test waits for.
SHORT = 0.2
#: How many compete.
PROCESSES = 4

BROKER = "amqp://localhost:5672/"


def message(id: str = "m1", queue: str = "mails", body: str = '{"body": "gr\\u00fc\\n\\u0000"}') -> DelayedMessage:
    """One that waits."""
    return DelayedMessage(id, queue, body)


class DelayedSuite:
    """Subclass it as `class TestMyDelayed(DelayedSuite)` and override the fixture `delayed`.

    It tests what one process sees; take SharedDelayedSuite when several processes see the same messages.
    """

    @pytest.fixture
    def delayed(self) -> Delayed:
        """A Delayed in which nothing waits; close its connections after the `yield`."""
        pytest.fail("Override the fixture `delayed` to give a Delayed in which nothing waits.")

    def test_where_nothing_waits_there_is_nothing_to_take(self, delayed: Delayed) -> None:
        due = delayed.take(BROKER, 10, LONG)
        assert (list(due.messages), due.next_due) == ([], None)
        assert delayed.count(BROKER, "mails") == 0
        assert list(delayed.waiting(BROKER, "mails")) == []
        assert delayed.forget(BROKER, ["m1"]) == 0
        assert list(delayed.overdue(0)) == []

    def test_a_message_is_taken_when_it_is_due_and_not_before(self, delayed: Delayed) -> None:
        start = time.monotonic()
        delayed.put(BROKER, [(message(), SHORT)])
        first = delayed.take(BROKER, 10, LONG)
        assert list(first.messages) == []
        assert first.next_due is not None
        assert 0 < first.next_due <= SHORT
        assert eventually(lambda: delayed.take(BROKER, 10, LONG).messages) == [message()]
        assert time.monotonic() - start >= SHORT - 0.002, "stores count in whole milliseconds"

    def test_what_is_taken_stays_hidden_until_it_is_forgotten(self, delayed: Delayed) -> None:
        delayed.put(BROKER, [(message(), 0)])
        assert list(delayed.take(BROKER, 10, LONG).messages) == [message()]
        again = delayed.take(BROKER, 10, LONG)
        assert list(again.messages) == []
        assert again.next_due == pytest.approx(LONG, abs=LONG / 2)
        assert delayed.count(BROKER, "mails") == 1
        assert delayed.forget(BROKER, ["m1", "unknown"]) == 1
        assert delayed.forget(BROKER, ["m1"]) == 0
        assert delayed.count(BROKER, "mails") == 0
        assert delayed.take(BROKER, 10, LONG).next_due is None

    def test_what_is_taken_and_not_forgotten_comes_again(self, delayed: Delayed) -> None:
        delayed.put(BROKER, [(message(), 0)])
        delayed.take(BROKER, 10, SHORT)
        assert list(delayed.take(BROKER, 10, SHORT).messages) == []
        assert eventually(lambda: delayed.take(BROKER, 10, LONG).messages) == [message()]

    def test_they_are_taken_in_the_order_they_are_due_no_more_than_asked_for(self, delayed: Delayed) -> None:
        delays = {"c": 0.3, "a": 0.1, "later": LONG, "b": 0.2}
        delayed.put(BROKER, [(message(id), delay) for id, delay in delays.items()])
        time.sleep(0.35)
        first = delayed.take(BROKER, 2, LONG)
        assert [each.id for each in first.messages] == ["a", "b"]
        assert first.next_due == 0
        second = delayed.take(BROKER, 2, LONG / 2)
        assert [each.id for each in second.messages] == ["c"]
        assert [each.id for each in delayed.waiting(BROKER, "mails", 1)] == ["c"]

    def test_a_message_that_is_put_twice_waits_once_as_it_was(self, delayed: Delayed) -> None:
        delayed.put(BROKER, [(message(), 0)])
        delayed.put(BROKER, [(message(body="other"), LONG)])
        assert list(delayed.take(BROKER, 10, LONG).messages) == [message()]
        assert delayed.count(BROKER, "mails") == 1

    def test_brokers_do_not_see_each_others_messages(self, delayed: Delayed) -> None:
        other = f"{BROKER}other {'host' * 100}"
        delayed.put(BROKER, [(message("mine"), 0)])
        delayed.put(other, [(message("theirs"), 0)])
        assert [each.id for each in delayed.take(BROKER, 10, LONG).messages] == ["mine"]
        assert delayed.count(other, "mails") == 1
        assert [each.id for each in delayed.waiting(other, "mails")] == ["theirs"]
        assert [each.id for each in delayed.take(other, 10, LONG).messages] == ["theirs"]

    def test_what_waits_is_seen_queue_by_queue(self, delayed: Delayed) -> None:
        queues = {"a": "mails", "b": "übersetzung", "c": "mails", "d": "mails"}
        delayed.put(BROKER, [(message(id, queue), LONG - n) for n, (id, queue) in enumerate(queues.items())])
        assert delayed.count(BROKER, "mails") == 3
        assert delayed.count(BROKER, "übersetzung") == 1
        assert delayed.count(BROKER, "Mails") == 0
        assert [each.id for each in delayed.waiting(BROKER, "mails")] == ["d", "c", "a"]
        assert [each.id for each in delayed.waiting(BROKER, "mails", 2)] == ["d", "c"]
        assert list(delayed.waiting(BROKER, "übersetzung")) == [message("b", "übersetzung")]

    def test_thousands_are_kept_taken_and_forgotten(self, delayed: Delayed) -> None:
        many = 2500
        delayed.put(BROKER, [(message(f"m{n}", f"q{n % 2}", "x" * 500), 0) for n in range(many)])
        assert delayed.count(BROKER, "q0") == many // 2
        taken = delayed.take(BROKER, many + 1, LONG).messages
        assert len({each.id for each in taken}) == many
        assert delayed.forget(BROKER, [each.id for each in taken]) == many
        assert delayed.count(BROKER, "q0") == delayed.count(BROKER, "q1") == 0

    def test_a_broker_nobody_takes_from_is_overdue(self, delayed: Delayed) -> None:
        delayed.put(BROKER, [(message(), 0)])
        delayed.put("other", [(message("m2"), LONG)])
        assert eventually(lambda: delayed.overdue(0.05)) == [BROKER]
        assert list(delayed.overdue(LONG)) == []
        delayed.take(BROKER, 10, LONG)
        assert list(delayed.overdue(0.05)) == []


class SharedDelayedSuite(DelayedSuite):
    """DelayedSuite for messages that other processes see: a stricter judge of the same promises."""

    #: Messages that PROCESSES processes take together.
    messages = 2000

    def test_other_processes_see_them(self, delayed: Delayed) -> None:
        assert delayed.shared

    def test_the_clock_of_the_worker_does_not_matter(self, delayed: Delayed, monkeypatch: pytest.MonkeyPatch) -> None:
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() - 10 * LONG)
        delayed.put(BROKER, [(message(), 0)])
        monkeypatch.setattr(time, "time", lambda: right() + 10 * LONG)
        delayed.put(BROKER, [(message("later"), LONG)])
        assert [each.id for each in delayed.take(BROKER, 10, LONG).messages] == ["m1"]

    def test_of_competing_takers_one_is_given_each_message(self, delayed: Delayed) -> None:
        delayed.put(BROKER, [(message(str(n)), 0) for n in range(self.messages)])
        given = Board(PROCESSES, self.messages)

        def take(child: int) -> None:
            while taken := delayed.take(BROKER, 50, LONG).messages:
                for each in taken:
                    given.add(child, int(each.id))
                assert delayed.forget(BROKER, [each.id for each in taken]) == len(taken)

        in_children([partial(take, child) for child in range(PROCESSES)])
        assert given.totals() == [1] * self.messages
        assert delayed.count(BROKER, "mails") == 0
