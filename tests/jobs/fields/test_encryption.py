"""Encrypted jobs travel as one token, and no error shows their values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.fernet import Fernet

from laraq import Job
from laraq.errors import ConfigurationError, InvalidJobError, PayloadError, TamperedPayloadError
from laraq.jobs.fields.codec import Codec
from laraq.messages.keys import Keys
from laraq.messages.payload import CIPHER, Payload
from tests.jobs.fields.jobs import Ship, travelled

KEY = Fernet.generate_key().decode()
SECRET = "4111-1111-1111-1111"


class Charge(Job):
    card: str
    amount: int = 1

    encrypted = True

    def handle(self) -> None: ...


def test_the_fields_of_an_encrypted_job_travel_as_one_token() -> None:
    fields = Codec(Keys([KEY])).dump(Charge(SECRET))
    assert list(fields) == [CIPHER]
    assert SECRET not in json.dumps(fields)
    assert "card" not in json.dumps(fields)


def test_an_encrypted_job_arrives_equal_to_the_one_sent() -> None:
    assert travelled(Charge(SECRET, 5), Codec(Keys([KEY]))) == Charge(SECRET, 5)


def test_one_instance_may_be_encrypted() -> None:
    job = Ship(1, notes=[SECRET])
    job.encrypted = True
    codec = Codec(Keys([KEY]))
    assert list(codec.dump(job)) == [CIPHER]
    assert travelled(job, codec).notes == [SECRET]


def test_an_encrypted_job_without_keys_is_refused_by_the_producer() -> None:
    with pytest.raises(ConfigurationError, match="laraq_keys"):
        Codec().dump(Charge(SECRET))


def test_a_job_encrypted_with_an_old_key_is_read_while_that_key_is_kept() -> None:
    old, new = KEY, Fernet.generate_key().decode()
    fields = Codec(Keys([old])).dump(Charge(SECRET))
    payload = Payload("1", Charge.job_name(), fields)
    assert Codec(Keys([new, old])).load(Charge, payload) == Charge(SECRET)
    with pytest.raises(TamperedPayloadError):
        Codec(Keys([new])).load(Charge, payload)


@pytest.mark.parametrize("token", ["", "changed", 5, None, ["x"]])
def test_a_token_that_is_none_is_refused(token: Any) -> None:
    with pytest.raises(PayloadError):
        Codec(Keys([KEY])).load(Charge, Payload("1", Charge.job_name(), {CIPHER: token}))


def test_a_worker_without_keys_refuses_the_message_of_an_encrypted_job() -> None:
    fields = Codec(Keys([KEY])).dump(Charge(SECRET))
    with pytest.raises(PayloadError, match="laraq_keys"):
        Codec().load(Charge, Payload("1", Charge.job_name(), fields))


def test_an_invalid_encrypted_job_does_not_show_its_values() -> None:
    with pytest.raises(InvalidJobError) as caught:
        Codec(Keys([KEY])).dump(Charge(card=SECRET, amount=SECRET))  # type: ignore[arg-type] # that is the point
    assert "amount" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_invalid_instance_that_was_made_encrypted_does_not_show_its_values() -> None:
    job = Ship(SECRET)  # type: ignore[arg-type] # that is the point
    job.encrypted = True
    with pytest.raises(InvalidJobError) as caught:
        Codec(Keys([KEY])).dump(job)
    assert SECRET not in str(caught.value)


def test_a_broken_message_of_an_encrypted_job_does_not_show_its_values() -> None:
    with pytest.raises(PayloadError) as caught:
        Codec(Keys([KEY])).load(Charge, Payload("1", Charge.job_name(), {"card": [SECRET], "amount": SECRET}))
    assert SECRET not in str(caught.value)
