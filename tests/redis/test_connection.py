from __future__ import annotations

import pytest
import redis

from laraq.errors import ConfigurationError, StoreError
from laraq_redis.client.connection import label, open_client, store_errors


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://localhost//", "redis://localhost:6379/0"),
        ("redis://:secret@cache.example:6380/3", "redis://cache.example:6380/3"),
        ("redis://user:secret@cache.example/3", "redis://cache.example:6379/3"),
        ("redis://cache.example?db=4&password=secret", "redis://cache.example:6379/4"),
        ("rediss://user:secret@cache.example/3", "rediss://cache.example:6379/3"),
        ("unix:///run/redis.sock?db=2&password=secret", "unix:///run/redis.sock?db=2"),
    ],
)
def test_the_label_names_the_database_and_no_secret(url: str, name: str) -> None:
    with open_client(url) as client:
        assert label(client) == name


@pytest.mark.parametrize("spelling", ["CERT_REQUIRED", "required"])
def test_celerys_spelling_of_certificate_checks_is_understood(spelling: str) -> None:
    with open_client(f"rediss://localhost?ssl_cert_reqs={spelling}&ssl_ca_certs=%2Fetc%2Fca.pem") as client:
        settings = client.connection_pool.connection_kwargs
        assert settings["ssl_cert_reqs"] == "required"
        assert settings["ssl_ca_certs"] == "/etc/ca.pem"


def test_options_beat_the_defaults_and_the_url_beats_both() -> None:
    with open_client("redis://localhost?socket_timeout=2", socket_connect_timeout=1.0, socket_timeout=9) as client:
        settings = client.connection_pool.connection_kwargs
        assert settings["socket_timeout"] == 2
        assert settings["socket_connect_timeout"] == 1


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost?visibility=1",
        "redis://localhost?socket_timeout=soon",
        "redis://localhost:port/0",
        "rediss://localhost?ssl_cert_reqs=CERT_SOMETIMES",
        "http://localhost",
    ],
)
def test_a_wrong_url_is_refused_before_anything_connects(url: str) -> None:
    with pytest.raises(ConfigurationError, match="The Redis URL of a store is wrong"):
        open_client(url)


def test_a_missing_server_is_named_with_what_to_check() -> None:
    with (
        open_client("redis://user:secret@127.0.0.1:1/0", retry=None) as client,
        pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:1/0 does not answer: .*the server runs") as caught,
        store_errors(label(client)),
    ):
        client.ping()
    assert "secret" not in str(caught.value)


def test_a_refusal_is_told_from_an_absence(redis_url: str) -> None:
    with (
        open_client(redis_url) as client,
        pytest.raises(StoreError, match=r"refused: wrong number"),
        store_errors(label(client)),
    ):
        client.execute_command("GET")


def test_wrong_credentials_are_told_from_an_absence(redis_url: str) -> None:
    password = redis_url.replace("redis://", "redis://nobody:secret@")
    with (
        open_client(password) as client,
        pytest.raises(StoreError, match=r"denies access: .*the password") as caught,
        store_errors(label(client)),
    ):
        client.ping()
    assert isinstance(caught.value.__cause__, redis.exceptions.AuthenticationError)
    assert "secret" not in str(caught.value)
