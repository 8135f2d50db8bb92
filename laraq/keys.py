"""Keys: `laraq_keys`, what encrypts fields and signs closures. The first key writes, all of them read."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING

from laraq.errors import ConfigurationError, MissingExtraError, TamperedPayloadError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


class Keys:
    """Fernet keys in the order of preference (MultiFernet's rotation rule)."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)
        for position, key in enumerate(self._keys, start=1):
            if not _is_fernet_key(key):
                raise ConfigurationError(
                    f"laraq_keys: key number {position} is not 32 url-safe base64-encoded bytes. Make one with:"
                    ' python -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
                )

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"<Keys: {len(self._keys)}>"

    def encrypt(self, data: bytes) -> str:
        """A Fernet token made with the first key."""
        return self._fernet().encrypt(data).decode()

    def decrypt(self, token: str) -> bytes:
        """What was encrypted with any of the keys.

        Raises TamperedPayloadError.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(token.encode())
        except InvalidToken:
            raise TamperedPayloadError(
                "The encrypted fields verify with none of laraq_keys: the message was changed, or its key was removed."
            ) from None

    def sign(self, data: bytes) -> str:
        """HMAC-SHA-256 with a key derived from the first one, so that it is not the encryption key itself."""
        self._require("Signing a closure")
        return base64.b64encode(_mac(self._keys[0], data)).decode()

    def verify(self, data: bytes, signature: str) -> None:
        """Accept a signature made with any of the keys.

        Raises TamperedPayloadError.
        """
        self._require("Verifying a closure")
        try:
            given = base64.b64decode(signature, validate=True)
        except ValueError:
            given = b""
        if not any(hmac.compare_digest(_mac(key, data), given) for key in self._keys):
            raise TamperedPayloadError("The signature verifies with none of laraq_keys: the message was changed.")

    def _fernet(self) -> MultiFernet:
        self._require("An encrypted job")
        try:
            from cryptography.fernet import Fernet, MultiFernet
        except ImportError:
            raise MissingExtraError("encrypted = True", "cryptography", "encryption") from None
        return MultiFernet([Fernet(key) for key in self._keys])

    def _require(self, what: str) -> None:
        if not self._keys:
            raise ConfigurationError(f"{what} needs laraq_keys (or LARAQ_KEYS), a list of Fernet keys.")


def _is_fernet_key(key: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(key)) == 32
    except ValueError:
        return False


def _mac(key: str, data: bytes) -> bytes:
    derived = hmac.digest(base64.urlsafe_b64decode(key), b"laraq signature", hashlib.sha256)
    return hmac.digest(derived, data, hashlib.sha256)
