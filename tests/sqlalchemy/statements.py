"""Statements: what an engine was asked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event


class Statements(list[str]):
    """The SQL an engine was sent while the `with` block ran."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def __enter__(self) -> Statements:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, cursor: Any, statement: str, *_: object) -> None:
        self.append(statement)
