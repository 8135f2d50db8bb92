from __future__ import annotations

import pytest

from laraq.errors import ConfigurationError, MissingExtraError
from laraq_sqlalchemy.database import engine as engines
from laraq_sqlalchemy.database.engine import label, open_engine


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://db.example/shop", "psycopg"),
        ("mysql://db.example/shop", "pymysql"),
        ("mariadb://db.example/shop", "pymysql"),
        ("mysql+pymysql://db.example/shop", "pymysql"),
        ("sqlite:///shop.db", "pysqlite"),
    ],
)
def test_a_url_without_a_driver_gets_the_one_laraq_installs(url: str, driver: str) -> None:
    assert open_engine(url).driver == driver


def test_the_label_has_no_password() -> None:
    engine = open_engine("postgresql://shop:secret@db.example/shop?password=secret&sslpassword=secret")
    assert label(engine.url) == "postgresql+psycopg://shop:***@db.example/shop"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("shop:secret@db.example", "The URL of a database store is invalid"),
        ("nosuch://shop:secret@db.example/shop", "nosuch://shop:.*cannot be used"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite://shop:secret@db.example/shop", "cannot be used"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        open_engine(url)
    assert "secret" not in str(caught.value)


def test_an_asyncio_driver_is_refused_with_a_blocking_one() -> None:
    with pytest.raises(ConfigurationError, match=r"asyncio driver; .* such as postgresql\+psycopg://"):
        open_engine("postgresql+psycopg_async://shop:secret@db.example/shop")


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs psycopg: pip install 'laraq\[postgres\]'"):
        open_engine("postgresql://db.example/shop")
