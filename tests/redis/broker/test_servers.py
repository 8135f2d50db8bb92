"""The Redis broker on servers of every kind: TLS, unix sockets, Sentinel, no CLIENT TRACKING; with key prefixes."""

# mypy: disable-error-code="no-untyped-call"
# kombu is annotated only here and there.

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.redis.broker.project import RedisProject
from tests.redis.private_server import SERVER_PROGRAM, PrivateRedis, free_port
from tests.support.waiting import wait_until


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """A key and its self-signed certificate for 127.0.0.1, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "laraq tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain, unencrypted = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files = {"cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    files["cert"].write_bytes(made.public_bytes(pem))
    files["key"].write_bytes(key.private_bytes(pem, plain, unencrypted))
    return {kind: str(path) for kind, path in files.items()}


def _serves(project: RedisProject) -> None:
    """Jobs run, at once and later, and control messages arrive."""
    with project.worker(concurrency=2) as worker:
        project.python("import proj; proj.note.delay('now'); proj.note.apply_async(('later',), countdown=0.5)")
        wait_until(lambda: sorted(project.names("end")) == ["later", "now"], timeout=20)
        first, second = (mark["at"] for mark in project.marks("start"))
        assert second - first < 2
        assert "pong" in project.python("import proj; print(proj.app.control.inspect(timeout=5).ping())")
        wait_until(lambda: project.count().total == 0)
        assert worker.terminate() == 0


def test_tls(tmp_path: Path, certificate: dict[str, str]) -> None:
    port = free_port()
    options = ("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", certificate["cert"])
    files = ("--tls-cert-file", certificate["cert"], "--tls-key-file", certificate["key"])
    with PrivateRedis(tmp_path, *options, *files) as server:
        broker = f"laraq-rediss://127.0.0.1:{port}/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={certificate['cert']}"
        _serves(RedisProject(tmp_path, server.url, broker=broker, poll=5))


def test_a_unix_socket_with_a_password(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "a/secret")
        url = server.url.replace("redis://", "redis://:a%2Fsecret@")
        _serves(RedisProject(tmp_path, url, broker=f"laraq-redis+socket://:a%2Fsecret@{server.socket_path}"))


def test_a_server_that_reports_no_changes_is_polled(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            client.acl_setuser(
                "default", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", "-client|tracking"]
            )
        project = RedisProject(tmp_path, server.url, poll=None)
        with project.worker() as worker:
            worker.wait_for_log("reports no changes .*: queues are polled")
        _serves(project)


def test_a_key_prefix_keeps_two_projects_in_one_database_apart(tmp_path: Path, redis_url: str) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    one, other = (RedisProject(folder, redis_url, global_keyprefix=f"{folder.name}:") for folder in folders)
    other.python("import proj; proj.note.delay('theirs'); proj.note.apply_async(('their later',), countdown=1)")
    _serves(one)
    assert (other.count().pending, other.count().delayed) == (2, 0)
    keys: Any = one.queues.client.keys("*")
    assert [key for key in keys if not key.startswith((b"one:", b"other:"))] == []


#: The broker's URL, the sentinel, its master and the replica.
Sentinel = tuple[str, redis.Redis, PrivateRedis, PrivateRedis]


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    """It notices a lost master soon; the broker's URL names another sentinel too, which is not there."""
    folders = [tmp_path / name for name in ("master", "replica", "sentinel")]
    for folder in folders:
        folder.mkdir()
    port = free_port()
    with (
        PrivateRedis(folders[0]) as master,
        PrivateRedis(folders[1], "--replicaof", "127.0.0.1", str(master.port)) as replica,
        redis.Redis(port=port) as client,
    ):
        config = folders[2] / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor laraq 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds laraq 500\nsentinel failover-timeout laraq 2000\n"
        )
        process = subprocess.Popen([SERVER_PROGRAM, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: _knows_its_replica(client), timeout=30)
            yield f"laraq-sentinel://127.0.0.1:{port};laraq-sentinel://127.0.0.1:{free_port()}", client, master, replica
        finally:
            process.kill()
            process.wait()


def _knows_its_replica(client: redis.Redis) -> bool:
    try:
        found: Any = client.sentinel_slaves("laraq")
    except redis.exceptions.RedisError:
        return False
    return any(replica.get("master-link-status") == "ok" for replica in found)


def _master(client: redis.Redis) -> int:
    """The port that the sentinel sends people to."""
    found: Any = client.sentinel_get_master_addr_by_name("laraq")
    return int(found[1])


def _takes_writes(server: PrivateRedis) -> bool:
    """Whether it knows that it is the master; the sentinel tells the world before."""
    with redis.Redis.from_url(server.url) as client:
        role: Any = client.role()
    return bool(role[0] in (b"master", "master"))


@pytest.mark.fault
@pytest.mark.serial
def test_sentinel_leads_to_the_new_master(
    tmp_path: Path, sentinel: tuple[str, redis.Redis, PrivateRedis, PrivateRedis]
) -> None:
    url, client, master, replica = sentinel
    folder = tmp_path / "project"
    project = RedisProject(folder, replica.url, broker=url, master_name="laraq", socket_timeout=5)
    with project.worker():
        project.python("import proj; proj.note.delay('before')")
        wait_until(lambda: project.names("end") == ["before"], timeout=20)
        master.kill()
        wait_until(lambda: _master(client) == replica.port, timeout=30)
        wait_until(lambda: _takes_writes(replica), timeout=30)
        project.python("import proj; proj.note.delay('after'); proj.note.apply_async(('later',), countdown=1)")
        wait_until(lambda: sorted(project.names("end")) == ["after", "before", "later"], timeout=30)
        wait_until(lambda: project.count().total == 0)
