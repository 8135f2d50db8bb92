from __future__ import annotations

import base64

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from laraq.errors import ConfigurationError, TamperedPayloadError
from laraq.messages.keys import Keys

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@given(st.binary(max_size=200))
def test_what_was_encrypted_is_read_again(data: bytes) -> None:
    keys = Keys([NEW])
    token = keys.encrypt(data)
    assert keys.decrypt(token) == data


def test_a_token_tells_nothing_of_what_it_holds() -> None:
    token = Keys([NEW]).encrypt(b"4111-1111")
    assert "4111" not in token
    assert b"4111" not in base64.urlsafe_b64decode(token)


def test_the_first_key_writes() -> None:
    token = Keys([NEW, OLD]).encrypt(b"x")
    assert Keys([NEW]).decrypt(token) == b"x"
    with pytest.raises(TamperedPayloadError):
        Keys([OLD]).decrypt(token)


def test_every_key_reads() -> None:
    token = Keys([OLD]).encrypt(b"x")
    assert Keys([NEW, OLD]).decrypt(token) == b"x"


def test_a_removed_key_reads_no_more_and_the_error_says_so() -> None:
    token = Keys([OLD]).encrypt(b"x")
    with pytest.raises(TamperedPayloadError, match="key was removed"):
        Keys([NEW]).decrypt(token)


@pytest.mark.parametrize("position", [0, 20, -2])
def test_a_changed_token_is_refused(position: int) -> None:
    keys = Keys([NEW])
    token = list(keys.encrypt(b"some fields"))
    token[position] = "A" if token[position] != "A" else "B"
    with pytest.raises(TamperedPayloadError):
        keys.decrypt("".join(token))


@pytest.mark.parametrize("token", ["", "no token", "ñ"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(TamperedPayloadError):
        Keys([NEW]).decrypt(token)


def test_the_first_key_signs_and_every_key_verifies() -> None:
    signature = Keys([OLD]).sign(b"code")
    Keys([NEW, OLD]).verify(b"code", signature)
    assert Keys([NEW, OLD]).sign(b"code") == Keys([NEW]).sign(b"code") != signature


@pytest.mark.parametrize("signature", ["", "no base64!", "AAAA", "ñ"])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(TamperedPayloadError):
        Keys([NEW]).verify(b"code", signature)


def test_a_signature_is_of_those_very_bytes() -> None:
    keys = Keys([NEW])
    with pytest.raises(TamperedPayloadError):
        keys.verify(b"other code", keys.sign(b"code"))


def test_without_keys_nothing_is_encrypted_or_verified_in_silence() -> None:
    keys = Keys()
    assert not keys
    for call in (
        lambda: keys.encrypt(b"x"),
        lambda: keys.decrypt("x"),
        lambda: keys.sign(b"x"),
        lambda: keys.verify(b"x", "x"),
    ):
        with pytest.raises(ConfigurationError, match="laraq_keys"):
            call()


@pytest.mark.parametrize("wrong", ["secret-but-short", "", "secret ñ" * 5, base64.b64encode(b"secret" * 5).decode()])
def test_a_key_of_the_wrong_form_is_refused_by_its_number_and_never_shown(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="number 2") as caught:
        Keys([NEW, wrong])
    assert not wrong or wrong not in str(caught.value)


def test_keys_do_not_show_themselves() -> None:
    assert NEW not in repr(Keys([NEW]))
