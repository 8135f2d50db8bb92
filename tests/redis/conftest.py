from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.redis.private_server import PrivateRedis, free_port
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.RedisCluster]:
    """A cluster of one node: it refuses commands whose keys could be on two nodes."""
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with PrivateRedis(tmp_path_factory.mktemp("cluster"), *options) as server:
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        client = redis.RedisCluster(host="127.0.0.1", port=server.port)
        yield client
        client.close()
