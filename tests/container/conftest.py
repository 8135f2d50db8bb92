from __future__ import annotations

from collections.abc import Iterator

import pytest

from laraq.container import Container, Scope
from tests.container.shop import Recorder


@pytest.fixture
def container() -> Container:
    return Container()


@pytest.fixture
def scope(container: Container) -> Iterator[Scope]:
    with container.scope() as scope:
        yield scope


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
