"""The short way to a script: what goes wrong on it is left to redis-py, and no answer is taken for another's."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from laraq_redis.client.direct import DirectConnection, packed
from tests.redis.private_server import PrivateRedis
from tests.support.waiting import wait_until


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def echo(client: redis.Redis) -> redis.commands.core.Script:
    return client.register_script("return ARGV[1]")


def test_answers_are_as_redis_py_gives_them(client: redis.Redis) -> None:
    direct = DirectConnection(client)
    script = client.register_script("return {ARGV[1], 7, false, {'x', ''}, redis.status_reply('fine')}")
    assert direct.ask(script, ["k"], ["ü"]) == script(["k"], ["ü"]) == ["ü".encode(), 7, None, [b"x", b""], b"fine"]
    long = "x" * 300_000
    assert direct.ask(echo(client), ["k"], [long]) == long.encode()
    direct.close()


def test_a_script_the_server_has_forgotten_is_sent_again_and_the_connection_kept(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        direct, script = DirectConnection(client), echo(client)
        assert direct.ask(script, ["k"], ["1"]) == b"1"
        kept = direct._connection
        client.script_flush()
        assert direct.ask(script, ["k"], ["2"]) == b"2"
        assert direct.ask(script, ["k"], ["3"]) == b"3"
        assert direct._connection is kept
        direct.close()


def test_an_error_of_the_script_is_redis_pys(client: redis.Redis) -> None:
    direct = DirectConnection(client)
    with pytest.raises(redis.ResponseError, match="no such thing"):
        direct.ask(client.register_script("return redis.error_reply('no such thing')"), ["k"], [])
    assert direct.ask(echo(client), ["k"], ["after"]) == b"after"
    direct.close()


def test_a_connection_that_was_cut_is_made_anew(client: redis.Redis) -> None:
    direct, script = DirectConnection(client), echo(client)
    for n in range(3):
        assert direct.ask(script, ["k"], [n]) == str(n).encode()
        for other in client.client_list():
            if other["cmd"] == "evalsha":
                client.client_kill_filter(_id=other["id"])
    direct.close()


def test_a_server_that_is_gone_is_redis_pys_error(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        direct, script = DirectConnection(client), echo(client)
        assert direct.ask(script, ["k"], ["1"]) == b"1"
        server.kill()
        with pytest.raises(redis.ConnectionError):
            direct.ask(script, ["k"], ["2"])
        server.start()
        assert direct.ask(script, ["k"], ["3"]) == b"3"
        direct.close()


def test_threads_get_their_own_answers(client: redis.Redis) -> None:
    direct, script, wrong = DirectConnection(client), echo(client), []

    def ask(thread: int) -> None:
        for n in range(200):
            said = f"{thread}:{n}"
            if direct.ask(script, ["k"], [said]) != said.encode():
                wrong.append(said)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    direct.close()


def test_an_answer_that_was_not_waited_for_is_not_the_next_ones(client: redis.Redis) -> None:
    """A soft time limit raises in the middle of whatever its process does."""
    direct, script = DirectConnection(client), echo(client)
    slow = client.register_script("local t = redis.call('TIME')[1] * 1 repeat until redis.call('TIME')[1] - t >= 2")

    class Limit(BaseException):
        pass

    def over(signum: int, frame: object) -> None:
        raise Limit

    direct.ask(script, ["k"], ["warm"])
    before = signal.signal(signal.SIGALRM, over)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Limit):
            direct.ask(slow, ["k"], [])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert direct.ask(script, ["k"], ["mine"]) == b"mine"
    direct.close()


def test_a_forked_child_has_a_connection_of_its_own(client: redis.Redis, tmp_path: Path) -> None:
    direct, script = DirectConnection(client), echo(client)
    assert direct.ask(script, ["k"], ["parent"]) == b"parent"
    pid = os.fork()
    if pid == 0:
        for n in range(200):
            if direct.ask(script, ["k"], [f"child {n}"]) != f"child {n}".encode():
                os._exit(1)
        (tmp_path / "fine").touch()
        os._exit(0)
    for n in range(200):
        assert direct.ask(script, ["k"], [n]) == str(n).encode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "fine").exists()
    direct.close()


def test_who_would_have_to_wait_goes_redis_pys_way(client: redis.Redis) -> None:
    direct, script = DirectConnection(client), echo(client)
    direct.ask(script, ["k"], ["warm"])
    with direct._lock:
        assert direct.ask(script, ["k"], ["other"]) == b"other"
    direct.close()


def test_a_command_is_packed_as_the_protocol_says() -> None:
    assert packed("GET", "ü", 12, b"\xff") == b"*4\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n$2\r\n12\r\n$1\r\n\xff\r\n"


def test_a_client_that_is_dropped_is_not_kept_alive(redis_url: str) -> None:
    import gc
    import weakref

    from laraq_redis.client import script

    client = redis.Redis.from_url(redis_url)
    load = script.load(client, "owner")
    assert load(["no such lock"]) is None
    gone = weakref.ref(client)
    del client, load
    wait_until(lambda: gc.collect() is not None and gone() is None)
