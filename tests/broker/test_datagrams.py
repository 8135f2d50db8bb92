from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from laraq_sqlalchemy.broker.datagrams import DatagramListener, DatagramSender, mailboxes


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return mailboxes(str(tmp_path / "db"))


@pytest.fixture
def sender(directory: Path) -> Iterator[DatagramSender]:
    sender = DatagramSender(directory)
    yield sender
    sender.close()


def test_sending_to_nobody_is_fine(sender: DatagramSender) -> None:
    sender.send(["q"])


def test_every_listener_hears_every_queue(directory: Path, sender: DatagramSender) -> None:
    listeners = [DatagramListener(directory) for _ in range(2)]
    sender.send(["q", "r"])
    for listener in listeners:
        assert select.select([listener], [], [], 5)[0]
        assert listener.drain() == {"q", "r"}
        assert listener.drain() == set()
        listener.close()


def test_a_listener_that_has_just_come_is_heard_at_once(directory: Path, sender: DatagramSender) -> None:
    for _ in range(200):  # faster than the clock of the file system ticks
        listener = DatagramListener(directory)
        sender.send(["q"])
        assert listener.drain() == {"q"}
        listener.close()


def test_a_dead_listener_is_removed(directory: Path, sender: DatagramSender) -> None:
    listener = DatagramListener(directory)
    listener._socket.close()  # as a kill leaves it
    assert len(list(directory.iterdir())) == 1
    sender.send(["q"])
    assert list(directory.iterdir()) == []


def test_a_mailbox_that_may_have_overflowed_hints_at_everything(directory: Path, sender: DatagramSender) -> None:
    listener = DatagramListener(directory)
    for n in range(5000):
        sender.send([f"q{n}"])
    assert listener.drain() is None
    listener.close()


def test_a_long_path_does_not_keep_a_listener_from_its_mailbox(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    directory = mailboxes(str(deep / "db"))
    listener, sender = DatagramListener(directory), DatagramSender(directory)
    sender.send(["q"])
    assert listener.drain() == {"q"}
    sender.close()
    listener.close()
    directory.rmdir()
