from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet
from pydantic import ValidationError

from laraq import Laraq
from laraq.config import EMBEDDED_URL, Settings
from laraq.errors import ConfigurationError, StoreNotFoundError, UnknownSettingError
from laraq.local.memory.store import MemoryStore


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"LARAQ_{name.upper()}", raising=False)


def attached(app: Celery | None = None, **given: Any) -> Laraq:
    return Laraq(app or Celery("t", broker="memory://", set_as_current=False), **{"store": "memory://", **given})


def test_the_defaults() -> None:
    settings = Settings.read({}, {})
    assert (settings.url, settings.default, settings.retry_after) == (EMBEDDED_URL, "default", 90)
    assert (settings.store, settings.failed, settings.connections, settings.keys) == (None, None, {}, ())


@pytest.mark.parametrize(
    ("given", "configured", "environment", "expected"),
    [
        pytest.param(None, None, None, 90, id="default"),
        pytest.param(None, None, "30", 30, id="environment"),
        pytest.param(None, 40, "30", 40, id="app over environment"),
        pytest.param(50, 40, "30", 50, id="code over app"),
        pytest.param(50, None, "30", 50, id="code over environment"),
        pytest.param(None, None, "", 90, id="an empty variable says nothing"),
    ],
)
def test_code_beats_the_app_beats_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: Any, configured: Any, environment: str | None, expected: float
) -> None:
    if environment is not None:
        monkeypatch.setenv("LARAQ_RETRY_AFTER", environment)
    app = Celery("t", broker="memory://", set_as_current=False)
    if configured is not None:
        app.conf.laraq_retry_after = configured
    queue = attached(app) if given is None else attached(app, retry_after=given)
    assert queue.settings.retry_after == expected


@pytest.mark.parametrize(("namespace", "key"), [(None, "laraq_retry_after"), ("CELERY", "CELERY_LARAQ_RETRY_AFTER")])
def test_the_app_s_configuration_is_read_flat_and_with_its_namespace(namespace: str | None, key: str) -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    app.config_from_object({key: 33}, namespace=namespace)
    assert attached(app).settings.retry_after == 33


def test_configuration_given_after_laraq_was_attached_still_counts() -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    queue = attached(app)
    app.conf.update(laraq_retry_after=44)
    assert queue.settings.retry_after == 44


@pytest.mark.parametrize("where", ["code", "app"])
def test_an_unknown_key_is_refused_with_a_suggestion(where: str) -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    if where == "app":
        app.conf.laraq_retry_aftr = 5
    with pytest.raises(UnknownSettingError, match=r"laraq_retry_aftr.*Did you mean 'laraq_retry_after'"):
        attached(app, **({"retry_aftr": 5} if where == "code" else {})).settings


@pytest.mark.parametrize(("typed", "meant"), [("stoer", "store"), ("contaner", "container"), ("sesions", "sessions")])
def test_an_unknown_keyword_is_refused_where_it_is_written(typed: str, meant: str) -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    with pytest.raises(UnknownSettingError, match=f"laraq_{typed}.*'laraq_{meant}'"):
        Laraq(app, **{typed: None})
    Laraq(app)  # the app is not attached by what was refused


def test_what_a_connection_cannot_say_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match=r"connection 'mail' has no 'ulr'\. Did you mean 'url'"):
        attached(connections={"mail": {"ulr": "amqp://"}}).settings


def test_an_unknown_key_near_nothing_is_refused_without_one() -> None:
    with pytest.raises(UnknownSettingError) as caught:
        attached(zzz=1).settings
    assert "Did you mean" not in str(caught.value)


def test_a_value_of_the_wrong_type_is_refused_by_its_key() -> None:
    with pytest.raises(ConfigurationError, match="laraq_retry_after"):
        attached(retry_after="soon").settings


def test_a_refusal_shows_no_key() -> None:
    with pytest.raises(ConfigurationError, match="laraq_keys") as caught:
        Settings.read({"keys": {"secret": "abc"}}, {})
    assert "abc" not in str(caught.value)


def test_keys_do_not_show_themselves() -> None:
    assert "secret" not in repr(Settings.read({"keys": ["secret"]}, {}))


@pytest.mark.parametrize("text", ["a,b", " a , b ,"])
def test_the_environment_separates_by_commas(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LARAQ_DISCOVER", text)
    monkeypatch.setenv("LARAQ_KEYS", text)
    settings = Settings.read({}, {})
    assert (settings.discover, settings.keys) == (("a", "b"), ("a", "b"))


def test_keys_of_the_environment_encrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    key = Fernet.generate_key().decode()
    monkeypatch.setenv("LARAQ_KEYS", key)
    assert attached().keys


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings.read({}, {}).retry_after = 5


def test_nothing_is_read_before_it_is_needed() -> None:
    queue = attached(retry_after="soon")
    assert repr(queue) == "<Laraq of Celery app 't'>"


# -- store URLs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "suggestion"),
    [("reids://localhost/1", "redis"), ("postgres://localhost/shop", "postgresql"), ("memori://", "memory")],
)
def test_an_unknown_store_is_refused_with_the_nearest_scheme(url: str, suggestion: str) -> None:
    with pytest.raises(StoreNotFoundError, match=rf"Did you mean '{suggestion}'.*Known: .*memory"):
        attached(store=url).store


def test_a_store_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Known"):
        attached(store="just words").store


def test_a_refused_store_url_does_not_show_its_password() -> None:
    with pytest.raises(StoreNotFoundError) as caught:
        attached(store="mongo://user:hunter2@localhost").store
    assert "hunter2" not in str(caught.value)


def test_a_store_may_be_an_object() -> None:
    store = MemoryStore()
    assert attached(store=store).store is store


def test_the_store_is_chosen_once_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "laraq")
    queue = attached()
    assert queue.store is queue.store
    assert [record.getMessage() for record in caplog.records if "records" in record.getMessage()] == [
        "laraq keeps its records in memory"
    ]


def test_the_default_store_is_the_broker_s_redis() -> None:
    queue = attached(Celery("t", broker="redis://:hunter2@localhost:6399/3", set_as_current=False), store=None)
    assert "6399" in queue.store.label
    assert "hunter2" not in queue.store.label


def test_failed_jobs_may_be_kept_elsewhere_or_nowhere(tmp_path: Any) -> None:
    from laraq.failed.file import FileFailedJobs
    from laraq.failed.null import NullFailedJobs

    assert isinstance(attached(failed="null").failed.jobs, NullFailedJobs)
    assert isinstance(attached(failed=f"file://{tmp_path}/failed.json").failed.jobs, FileFailedJobs)
    other = MemoryStore()
    assert attached(failed=other.failed).failed.jobs is other.failed
    with pytest.raises(StoreNotFoundError):
        attached(failed="nul").failed


# -- attaching ------------------------------------------------------------------------------------------------------


def test_an_app_has_one_laraq() -> None:
    app = Celery("t", broker="memory://", set_as_current=False)
    queue = attached(app)
    assert app.laraq is queue
    with pytest.raises(ConfigurationError, match=r"app\.laraq"):
        attached(app)


def test_what_is_no_app_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="celery"):
        Laraq(object())
