from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from laraq.errors import ConfigurationError, DispatchError
from laraq.sending.after_commit import AfterCommit, Held


class Post:
    """Writes down what becomes of the letters it is given."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.dropped: list[str] = []

    def hold(self, held: Held, scope: object, letter: str) -> None:
        held.add(scope, lambda: self.sent.append(letter), lambda: self.dropped.append(letter))


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def held() -> Held:
    return Held()


def refuse() -> None:
    raise DispatchError("broker down")


def nothing() -> None: ...


def test_a_commit_sends_in_the_order_of_asking(held: Held, post: Post) -> None:
    for scope, letter in (("root", "a"), ("savepoint", "b"), ("root", "c")):
        post.hold(held, scope, letter)
    held.release("savepoint", "root")
    held.send()
    assert (post.sent, post.dropped) == (["a", "b", "c"], [])


def test_what_was_sent_is_not_sent_again(held: Held, post: Post) -> None:
    post.hold(held, "root", "a")
    held.send()
    held.send()
    assert post.sent == ["a"]


def test_a_savepoint_that_rolls_back_drops_its_own_only(held: Held, post: Post) -> None:
    post.hold(held, "root", "a")
    post.hold(held, "savepoint", "b")
    held.drop("savepoint")
    held.send()
    assert (post.sent, post.dropped) == (["a"], ["b"])


def test_a_released_savepoint_goes_with_the_outer_one(held: Held, post: Post) -> None:
    post.hold(held, "inner", "a")
    held.release("inner", "outer")
    held.drop("outer")
    held.send()
    assert (post.sent, post.dropped) == ([], ["a"])


def test_a_transaction_without_commit_drops_all(held: Held, post: Post) -> None:
    post.hold(held, "root", "a")
    post.hold(held, "savepoint", "b")
    held.clear()
    assert (post.sent, post.dropped) == ([], ["a", "b"])


def test_a_broker_that_is_down_stops_no_other_send_and_is_told(
    held: Held, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    held.add("root", refuse, nothing)
    post.hold(held, "root", "b")
    held.add("root", refuse, nothing)
    with pytest.raises(DispatchError, match="broker down") as raised:
        held.send()
    assert raised.value.__notes__ == ["The transaction is committed; 2 of 3 jobs were not sent."]
    assert post.sent == ["b"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_a_lock_that_cannot_be_freed_does_not_replace_the_reason_of_the_rollback(
    held: Held, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    held.add("root", nothing, refuse)
    post.hold(held, "root", "b")
    held.clear()
    assert post.dropped == ["b"]
    assert "could not be released" in caplog.text


class Library:
    """One that knows its sessions by type."""

    def __init__(self, session: type, is_open: bool) -> None:
        self.session = session
        self.is_open = is_open
        self.asked: list[Any] = []

    def handles(self, session: Any) -> bool:
        return isinstance(session, self.session)

    def defer(self, send: Callable[[], None], on_rollback: Callable[[], None], session: Any = None) -> bool:
        self.asked.append(session)
        return self.is_open


def test_the_first_library_with_an_open_transaction_holds_it() -> None:
    closed, first, second = Library(int, False), Library(str, True), Library(bytes, True)
    after_commit = AfterCommit(lambda: (closed, first, second))
    assert after_commit.defer(nothing, nothing) is True
    assert (closed.asked, first.asked, second.asked) == ([None], [None], [])


def test_nothing_is_held_when_no_transaction_is_open() -> None:
    assert AfterCommit(lambda: (Library(int, False),)).defer(nothing, nothing) is False
    assert AfterCommit(lambda: ()).defer(nothing, nothing) is False


def test_a_session_is_given_to_its_own_library() -> None:
    numbers, texts = Library(int, True), Library(str, True)
    assert AfterCommit(lambda: (numbers, texts)).defer(nothing, nothing, session="s") is True
    assert (numbers.asked, texts.asked) == ([], ["s"])


def test_a_session_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="bytes"):
        AfterCommit(lambda: (Library(int, True),)).defer(nothing, nothing, session=b"")


def test_a_library_that_watches_nothing_knows_its_sessions_by_name() -> None:
    watching, imported = Library(int, True), Library(str, True)
    after_commit = AfterCommit(lambda: (watching,), lambda: (imported,))
    assert after_commit.defer(nothing, nothing) is True
    assert after_commit.defer(nothing, nothing, session="s") is True
    assert (watching.asked, imported.asked) == ([None], ["s"])


def test_who_knows_no_sessions_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    AfterCommit(lambda: (Library(int, False),)).warn_if_blind("shop.Ship")
    assert caplog.text == ""
    blind = AfterCommit(lambda: ())
    blind.warn_if_blind("shop.Ship")
    blind.warn_if_blind("shop.Bill")
    assert caplog.text.count("sessions=") == 1
