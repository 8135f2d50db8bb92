"""What `laraq doctor` finds in a setup: pure, so these are tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from laraq.ports import StoreHealth
from laraq_celery.command.checks import CHECKS
from laraq_celery.command.setup import Setup

#: Nothing is wrong with it.
WELL = Setup(visibility_timeout=60, soft_shutdown=60, store_health=StoreHealth((), "noeviction", True, 0.0))


def found(setup: Setup) -> list[tuple[str, bool]]:
    return [(finding.check, finding.advice) for check in CHECKS for finding in check(setup)]


def test_nothing_is_wrong_with_a_good_setup() -> None:
    assert found(WELL) == []


PROBLEM, ADVICE = False, True


@pytest.mark.parametrize(
    ("changes", "check", "advice"),
    [
        ({"broker_error": "refused"}, "broker", PROBLEM),
        ({"store_error": "refused"}, "store", PROBLEM),
        ({"store_health": StoreHealth(["0001"])}, "tables", PROBLEM),
        ({"missing_tables": ("laraq_jobs",)}, "tables", PROBLEM),
        ({"store_health": StoreHealth(eviction="allkeys-lru")}, "eviction", PROBLEM),
        ({"broker_eviction": "volatile-ttl"}, "eviction", PROBLEM),
        ({"store_health": StoreHealth(durable=False)}, "durability", ADVICE),
        (
            {"store_is_here": True, "broker_is_here": False, "broker_has_password": True},
            "store of each machine",
            PROBLEM,
        ),
        ({"clock_ahead": -3.0}, "clocks", PROBLEM),
        ({"visibility_timeout": None}, "visibility timeout", ADVICE),
        ({"visibility_timeout": 5}, "visibility timeout", PROBLEM),
        ({"broker": "laraq-redis", "retry_after": None}, "retry_after", PROBLEM),
        ({"broker": "laraq-db", "retry_after": 5}, "retry_after", ADVICE),
        ({"broker": "laraq-db", "retry_after": 3600}, "retry_after", ADVICE),
        ({"broker": "amqp", "longest_timeout": 3600}, "consumer timeout", PROBLEM),
        ({"broker": "amqp", "task_limit": 3600, "late_tasks": True}, "consumer timeout", PROBLEM),
        ({"broker": "sqs", "longest_timeout": 60}, "visibility timeout", PROBLEM),
        ({"broker": "sqs", "visibility_timeout": None, "longest_timeout": 1800}, "visibility timeout", PROBLEM),
        ({"pool": "threads", "timed": ("shop.Pay",)}, "timeouts", PROBLEM),
        ({"soft_shutdown": 0}, "soft shutdown", ADVICE),
        ({"start_method": "spawn"}, "group signals", PROBLEM),
        ({"prefetch": 0}, "prefetch", PROBLEM),
        ({"longest_timeout": 60}, "prefetch", ADVICE),
        ({"broker": "amqp", "prioritized": ("shop.Pay",)}, "priorities", PROBLEM),
        ({"results": "redis", "results_expire": False}, "results", PROBLEM),
        ({"results": "db"}, "results", ADVICE),
        ({"encrypted": ("shop.Pay",)}, "keys", PROBLEM),
        ({"has_keys": True, "accept_unsigned": "all"}, "keys", ADVICE),
        ({"broker_is_here": False}, "strangers", PROBLEM),
        (
            {"broker": "amqp", "broker_is_here": False, "broker_user": "guest", "broker_has_password": True},
            "strangers",
            PROBLEM,
        ),
    ],
)
def test_each_mistake_is_found_alone(changes: dict[str, Any], check: str, advice: bool) -> None:
    long = changes.get("longest_timeout", 0) >= 60 and check != "prefetch"
    setup = replace(WELL, **({"prefetch": 1} if long else {}), **changes)
    assert found(setup) == [(check, advice)]


@pytest.mark.parametrize(
    "changes",
    [
        {"broker": "amqp", "visibility_timeout": None, "longest_timeout": 1800, "prefetch": 1},
        {"broker": "amqp", "prioritized": ("shop.Pay",), "max_priority": 10},
        {"broker": "redis", "longest_timeout": 86400, "prefetch": 1},
        {"broker": "laraq-redis", "longest_timeout": 86400, "prefetch": 1},
        {"broker": "amqp", "task_limit": 3600},
        {"store_is_here": True},
        {"clock_ahead": 0.5},
        {"encrypted": ("shop.Pay",), "has_keys": True},
        {"timed": ("shop.Pay",)},
        {"results": "redis"},
    ],
)
def test_what_is_no_mistake_is_not_found(changes: dict[str, Any]) -> None:
    assert found(replace(WELL, **changes)) == []


def test_many_names_are_cut() -> None:
    setup = replace(WELL, encrypted=tuple(f"shop.J{n}" for n in range(5)))
    [finding] = [finding for check in CHECKS for finding in check(setup)]
    assert finding.says.startswith("shop.J0, shop.J1, shop.J2 and 2 more cannot")
    assert finding.mend == "laraq_keys"
