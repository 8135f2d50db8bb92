"""Post: what waits for a commit, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, func, select

from laraq_sqlalchemy.orm.transactions import SqlAlchemyTransactions
from tests.sqlalchemy.podcasts import Author


class Post:
    """Sends letters after the commit and writes down what becomes of them."""

    def __init__(self, transactions: SqlAlchemyTransactions) -> None:
        self.transactions = transactions
        self.sent: list[str] = []
        self.dropped: list[str] = []
        self.on_send: Callable[[], None] = lambda: None

    def dispatch(self, letter: str, session: Any = None) -> None:
        def send() -> None:
            self.on_send()
            self.sent.append(letter)

        if not self.transactions.defer(send, lambda: self.dropped.append(letter), session):
            send()

    @property
    def fate(self) -> tuple[list[str], list[str]]:
        return self.sent, self.dropped


def author(id: int = 1) -> Author:
    return Author(id=id, name="Ada")


def authors(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Author)) or 0
