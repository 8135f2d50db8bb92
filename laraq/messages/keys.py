"""Keys: `laraq_keys` encrypt fields, sign parts of messages, and hide names. The first writes, all of them read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from laraq.errors import ConfigurationError, MissingExtraError, TamperedPayloadError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

#: Which data of earlier laraq versions are still read if there are keys: `tokens`, which are not bound to a message;
#: `all`, which also includes unsigned `through` and names of functions; `none`.
Accepted: TypeAlias = Literal["tokens", "all", "none"]


class Keys:
    """Fernet keys in the order of preference (MultiFernet's rotation rule)."""

    def __init__(self, keys: Sequence[str] = (), accept_unsigned: Accepted = "tokens") -> None:
        self._keys = tuple(keys)
        self._accepts = accept_unsigned
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
        """Decrypt a token made with any of the keys.

        Raises TamperedPayloadError.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(token.encode())
        except InvalidToken:
            raise TamperedPayloadError(
                "The encrypted fields verify with none of laraq_keys: the message was changed, or its key was removed."
            ) from None

    def seal(self, data: Any, bound_to: str) -> str:
        """JSON-ready data as a token that is bound to one place, such as the fields of one message."""
        from pydantic_core import to_json  # late: a program that sends no jobs does not need pydantic

        return self.encrypt(to_json([bound_to, data]))

    def unseal(self, token: str, bound_to: str) -> Any:
        """The data of a token bound to that place, or made before tokens were bound.

        Raises TamperedPayloadError for a token of another place.
        """
        try:
            data = json.loads(self.decrypt(token))
        except ValueError:
            raise TamperedPayloadError(f"The token of {bound_to} holds something that laraq did not encrypt.") from None
        match data:
            case [str(place), sealed] if place == bound_to:
                return sealed
            case [str(place), _]:
                raise TamperedPayloadError(f"The token of {bound_to} was made for {place}.")
            case _ if self._accepts == "none":
                raise TamperedPayloadError(
                    f"The token of {bound_to} is bound to no message, as those of earlier versions, and"
                    " laraq_accept_unsigned is 'none'."
                )
        return data

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

    def check(self, what: str, data: bytes, signature: str | None) -> bool:
        """Whether data that must be signed if there are keys is known to be the application's.

        Raises TamperedPayloadError when there are keys and it is not signed with them.
        """
        if not self._keys or (signature is None and self._accepts == "all"):
            return False
        if signature is None:
            raise TamperedPayloadError(
                f"{what} is not signed, and laraq_keys are set. Messages from before that are read with"
                " laraq_accept_unsigned = 'all'."
            )
        self.verify(data, signature)
        return True

    def hide(self, text: str) -> str:
        """A name that may hold secrets, as stores and messages show it: the same for the same text and first key.

        Without keys the text itself.
        """
        return (
            _mac(self._keys[0], text.encode("utf-8", "surrogatepass"), b"laraq name").hex()[:32]
            if self._keys and text
            else text
        )

    def spellings(self, text: str) -> tuple[str, ...]:
        """The text, and all results of `hide` for it with any of the keys."""
        return (text, *(Keys([key]).hide(text) for key in self._keys))

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


def _mac(key: str, data: bytes, purpose: bytes = b"laraq signature") -> bytes:
    derived = hmac.digest(base64.urlsafe_b64decode(key), purpose, hashlib.sha256)
    return hmac.digest(derived, data, hashlib.sha256)
