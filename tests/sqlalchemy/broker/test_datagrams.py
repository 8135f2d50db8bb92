"""Wake-ups through sockets, whose paths the kernel wants short."""

from __future__ import annotations

from pathlib import Path

import pytest

from laraq_sqlalchemy.broker.databases.datagrams import DatagramListener, DatagramSender, mailboxes


def test_a_database_deep_in_the_tree_has_mailboxes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 80) / ("e" * 80)
    deep.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(deep))
    directory = mailboxes(str(deep / "laraq.db"))
    listener, sender = DatagramListener(directory), DatagramSender(directory)
    sender.send(["high", "low"])
    assert listener.drain() == {"high", "low"}
    sender.close()
    listener.close()
    directory.rmdir()
