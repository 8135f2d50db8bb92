"""fields_repr() writes what saferepr writes, whatever the fields."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st

from laraq_celery.sending.template import args_repr, fields_repr

flat = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    flat, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner), max_leaves=8
)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@pytest.fixture(scope="module")
def amqp() -> Any:
    return Celery(set_as_current=False).amqp


@given(fields=st.dictionaries(names, flat) | st.dictionaries(names, values))
def test_fields_are_written_as_celery_writes_them(amqp: Any, fields: dict[str, Any]) -> None:
    assert fields_repr(amqp, fields) == saferepr(fields, amqp.kwargsrepr_maxsize)


@given(length=st.integers(min_value=980, max_value=1060), tail=flat)
def test_fields_are_cut_where_celery_cuts_them(amqp: Any, length: int, tail: Any) -> None:
    for fields in (
        {"text": "x" * length, "tail": tail},
        {"text": "x " * (length // 2)},
        {"tail": tail, "n": 10**length},
    ):
        assert fields_repr(amqp, fields) == saferepr(fields, amqp.kwargsrepr_maxsize)


@given(args=st.lists(values).map(tuple))
def test_values_by_position_are_written_as_celery_writes_them(amqp: Any, args: tuple[Any, ...]) -> None:
    assert args_repr(amqp, args) == saferepr(args, amqp.argsrepr_maxsize)
