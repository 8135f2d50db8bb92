"""CHECKS: what `laraq doctor` knows to go wrong, each with the setting that mends it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from laraq.cli.host import Finding
from laraq_celery.command.setup import Setup

#: The shortest lease that a machine which stalls for a few seconds survives, and the longest that a user waits for.
SHORTEST_LEASE, LONGEST_LEASE = 10.0, 600.0

#: RabbitMQ's default `consumer_timeout`, and kombu's `visibility_timeout` for SQS and other brokers.
CONSUMER_TIMEOUT, HIDDEN = 1800.0, 1800.0

#: Seconds by which clocks may differ.
CLOCKS = 2.0

#: Pools that cannot stop a running job.
_UNSTOPPABLE = ("threads", "solo", "gevent", "eventlet")


def answers(setup: Setup) -> Iterator[Finding]:
    """Broker and store answer."""
    if setup.broker_error:
        yield Finding("broker", f"The broker does not answer: {setup.broker_error}", "broker_url")
    if setup.store_error:
        yield Finding("store", f"The store does not answer: {setup.store_error}", "laraq_store")


def tables(setup: Setup) -> Iterator[Finding]:
    """Every table is there."""
    for what, missing in (("store", setup.store_health.missing), ("broker", setup.missing_tables)):
        if missing:
            yield Finding("tables", f"The {what} lacks {', '.join(missing)}.", "laraq migrate")


def eviction(setup: Setup) -> Iterator[Finding]:
    """No Redis drops keys when it is full."""
    for what, policy in (("broker", setup.broker_eviction), ("store", setup.store_health.eviction)):
        if policy not in (None, "noeviction"):
            yield Finding(
                "eviction",
                f"The Redis of the {what} drops keys when its memory is full ({policy}): jobs, locks and records"
                " vanish.",
                "maxmemory-policy noeviction",
            )


def durability(setup: Setup) -> Iterator[Finding]:
    """The store survives a restart."""
    if setup.store_health.durable is False:
        yield Finding(
            "durability",
            "The Redis of the store does not write every change to disk: a restart of it may lose failed jobs, batches"
            " and delayed jobs.",
            "appendonly yes",
            advice=True,
        )


def shared_store(setup: Setup) -> Iterator[Finding]:
    """All machines use one store."""
    if setup.store_is_here and not setup.broker_is_here:
        yield Finding(
            "store of each machine",
            f"The broker is reached over the network, but each machine has a store of its own ({setup.store}): run"
            " journals, locks, pauses and failed jobs are not shared.",
            "laraq_store",
        )


def clocks(setup: Setup) -> Iterator[Finding]:
    """The clocks agree."""
    if setup.clock_ahead is not None and abs(setup.clock_ahead) > CLOCKS:
        yield Finding(
            "clocks",
            f"The clock of the store differs from this machine's by {abs(setup.clock_ahead):.1f} s: delays given as a"
            " moment and leases on stock Redis are off by that.",
            "NTP on both machines",
        )


def leases(setup: Setup) -> Iterator[Finding]:
    """A killed worker's jobs come back soon, and a slow one's do not come back twice."""
    if setup.broker == "redis":
        if setup.visibility_timeout is None:
            yield Finding(
                "visibility timeout",
                "A killed worker's jobs come back after kombu's visibility timeout of an hour. Workers with laraq renew"
                " it, so it can be short.",
                "laraq_retry_after = 90",
                advice=True,
            )
        elif setup.visibility_timeout < SHORTEST_LEASE:
            yield Finding(
                "visibility timeout",
                f"The visibility timeout of {setup.visibility_timeout:g} s is so short that a machine which stalls runs"
                " jobs twice.",
                "broker_transport_options visibility_timeout, or laraq_retry_after, of 30 or more",
            )
    elif setup.broker.startswith("laraq-"):
        if setup.retry_after is None:
            yield Finding(
                "retry_after", "A killed worker's jobs never come back by themselves.", "laraq_retry_after = 90"
            )
        elif setup.retry_after < SHORTEST_LEASE or setup.retry_after > LONGEST_LEASE:
            yield Finding(
                "retry_after",
                f"A killed worker's jobs come back after {setup.retry_after:g} s: below 10 s a machine that stalls runs"
                " jobs twice, and as workers renew it, a long time only delays them.",
                "laraq_retry_after = 90",
                advice=True,
            )


def long_jobs(setup: Setup) -> Iterator[Finding]:
    """The broker leaves a job to its worker for as long as it may run."""
    longest = max(setup.longest_timeout, (setup.task_limit or 0) if setup.late_tasks else 0)
    if setup.broker == "amqp" and longest > CONSUMER_TIMEOUT:
        yield Finding(
            "consumer timeout",
            f"Jobs may run for {longest:g} s, but RabbitMQ closes the channel of a worker that has not acknowledged a"
            f" message after {CONSUMER_TIMEOUT:g} s (its default), and delivers the message again.",
            "consumer_timeout in rabbitmq.conf",
        )
    leased = setup.broker in ("redis", "amqp", "memory") or setup.broker.startswith("laraq-")
    hidden = setup.visibility_timeout or HIDDEN
    if not leased and longest >= hidden:
        yield Finding(
            "visibility timeout",
            f"Jobs may run for {longest:g} s, but the broker delivers a message again after {hidden:g} s, and laraq"
            " cannot renew that there.",
            "broker_transport_options visibility_timeout",
        )


def priorities(setup: Setup) -> Iterator[Finding]:
    """Priorities are obeyed."""
    if setup.prioritized and setup.broker == "amqp" and not setup.max_priority:
        yield Finding(
            "priorities",
            f"RabbitMQ ignores the priority of {_names(setup.prioritized)}: its queues are declared without any.",
            "task_queue_max_priority = 10, for new queues",
        )


def prefetching(setup: Setup) -> Iterator[Finding]:
    """No worker hoards messages."""
    if setup.prefetch == 0:
        yield Finding(
            "prefetch",
            "Under `celery worker` a worker takes all messages of its queues at once, and others get none.",
            "worker_prefetch_multiplier = 1",
        )
    elif setup.prefetch > 1 and setup.longest_timeout >= 60:
        yield Finding(
            "prefetch",
            f"Under `celery worker` each process keeps up to {setup.prefetch} messages, which wait behind a long job"
            " while other workers are idle. `laraq work` keeps one.",
            "worker_prefetch_multiplier = 1",
            advice=True,
        )


def stopping(setup: Setup) -> Iterator[Finding]:
    """Jobs have time to end when a worker is stopped."""
    if not setup.soft_shutdown:
        yield Finding(
            "soft shutdown",
            "SIGQUIT, or a second Ctrl-C, ends running jobs at once: they have used an attempt.",
            "worker_soft_shutdown_timeout = 60, and a supervisor that waits longer",
            advice=True,
        )
    if setup.start_method != "fork":
        yield Finding(
            "group signals",
            f"With worker_pool_start_method = {setup.start_method!r} a signal to the process group kills running jobs.",
            "KillMode=mixed (systemd), stopasgroup=false (Supervisor)",
        )


def timeouts(setup: Setup) -> Iterator[Finding]:
    """Timeouts are enforced."""
    if setup.timed and setup.pool in _UNSTOPPABLE:
        yield Finding(
            "timeouts",
            f"The pool {setup.pool} cannot stop a job: the timeout of {_names(setup.timed)} has no effect.",
            "worker_pool = 'prefork'",
        )


def keys(setup: Setup) -> Iterator[Finding]:
    """What is to be encrypted can be."""
    if setup.encrypted and not setup.has_keys:
        yield Finding("keys", f"{_names(setup.encrypted)} cannot be sent: there are no keys.", "laraq_keys")
    if setup.has_keys and setup.accept_unsigned == "all":
        yield Finding(
            "keys",
            "Unsigned middleware and functions of earlier versions are accepted, from whoever can write to the broker.",
            "laraq_accept_unsigned = 'tokens'",
            advice=True,
        )


def strangers(setup: Setup) -> Iterator[Finding]:
    """Not everyone can write to the broker."""
    if setup.broker_is_here or setup.broker not in ("redis", "laraq-redis", "amqp"):
        return
    if not setup.broker_has_password or (setup.broker == "amqp" and setup.broker_user == "guest"):
        yield Finding(
            "strangers",
            "The broker is on another machine and needs no password, or a well-known one: whoever reaches it can send"
            " jobs.",
            "a user and a password in broker_url",
        )


def results(setup: Setup) -> Iterator[Finding]:
    """Results do not pile up."""
    if setup.results and not setup.results_expire:
        yield Finding(
            "results", "The results of jobs are kept for ever.", "result_expires, or task_ignore_result = True"
        )
    elif setup.results in ("db", "database", "cassandra", "mongodb", "filesystem", "file"):
        yield Finding(
            "results",
            "Results in this backend are only deleted by celery.backend_cleanup, which Celery beat runs.",
            "celery beat, or task_ignore_result = True",
            advice=True,
        )


#: All of them, in the order of the report.
CHECKS: tuple[Callable[[Setup], Iterator[Finding]], ...] = (
    answers,
    tables,
    shared_store,
    eviction,
    durability,
    clocks,
    leases,
    long_jobs,
    timeouts,
    stopping,
    prefetching,
    priorities,
    results,
    keys,
    strangers,
)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
