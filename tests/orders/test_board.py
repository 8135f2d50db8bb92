from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from laraq.orders import board as module
from laraq.orders.board import Board, Order
from laraq.ports import Store
from tests.support.waiting import wait_until


def names(orders: Mapping[str, Order]) -> list[str]:
    return sorted(orders)


def test_an_order_stands_until_it_is_taken_back(store: Store) -> None:
    board, another = Board(lambda: store), Board(lambda: store)
    assert not board.standing()
    board.give("a")
    board.give("b")
    assert names(another.standing()) == ["a", "b"]
    assert another.standing()["a"].ends_in is None
    assert another.is_given("a")
    assert another.take_back(["a", "c"]) == ["a"]
    assert names(board.standing()) == ["b"]
    assert board.take_back(["a"]) == []


def test_an_order_for_a_time_ends_by_itself(store: Store) -> None:
    board = Board(lambda: store)
    board.give("a", 0.2)
    ends_in = board.standing()["a"].ends_in
    assert ends_in is not None
    assert ends_in <= 0.2
    wait_until(lambda: not board.standing() and not board.is_given("a"))
    assert board.take_back(["a"]) == []


def test_an_order_that_is_given_anew_is_another_one(store: Store) -> None:
    board = Board(lambda: store)
    board.give("a")
    before = board.standing()["a"].token
    board.give("a")
    assert board.standing()["a"].token != before


def test_a_reader_sees_every_change_and_every_end(store: Store) -> None:
    board = Board(lambda: store)
    read = board.reader()
    assert names(read()) == []
    board.give("a")
    board.give("b", 0.3)
    assert names(read()) == ["a", "b"]
    assert read() is read()
    wait_until(lambda: names(read()) == ["a"])
    board.take_back(["a"])
    assert names(read()) == []


def test_a_reader_asks_for_one_value_while_nothing_changes(store: Store, monkeypatch: Any) -> None:
    board = Board(lambda: store)
    read = board.reader()
    board.give("a")
    board.give("b")
    read()
    cache, asked = store.cache, list[str]()
    for query in ("get", "peek"):
        ask = getattr(cache, query)
        monkeypatch.setattr(cache, query, lambda key, ask=ask, query=query: asked.append(f"{query} {key}") or ask(key))
    read()
    assert f"peek {module.LIST}" in asked
    assert not [each for each in asked if module.ORDER in each]


def test_a_reader_notices_a_change_whose_author_died_half_way(store: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.05)
    board = Board(lambda: store)
    read = board.reader()
    board.give("a")
    assert names(read()) == ["a"]
    store.cache.forget(f"{module.ORDER}a")
    wait_until(lambda: names(read()) == [])


def test_orders_that_are_given_at_once_are_all_kept(store: Store) -> None:
    board = Board(lambda: store)
    givers = [threading.Thread(target=board.give, args=(f"order {n}",)) for n in range(4)]
    for giver in givers:
        giver.start()
    for giver in givers:
        giver.join()
    assert names(board.standing()) == [f"order {n}" for n in range(4)]
