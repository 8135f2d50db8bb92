"""Codec: job fields <-> JSON, through pydantic; mapped instances by identifier; encryption.

Fields are validated twice, in the producer and in the worker, by the same types, and arrive equal or are not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from laraq.errors import (
    ConfigurationError,
    InvalidJobError,
    LaraqError,
    ModelNotFoundError,
    PayloadError,
    TamperedPayloadError,
)
from laraq.jobs import registry
from laraq.jobs.fields.fields import PydanticFields
from laraq.jobs.fields.mapped import WithoutRelations as WithoutRelations
from laraq.jobs.fields.untyped import Untyped
from laraq.messages.keys import Keys
from laraq.messages.payload import CIPHER, Payload
from laraq.ports import Models

#: Stands for values of encrypted jobs.
HIDDEN = "<encrypted>"


class FieldsCodec(Protocol):
    """Converts the fields of one job class to JSON and back."""

    def dump(self, job: Any) -> dict[str, Any]:
        """JSON-ready fields, validated; raises InvalidJobError, or pydantic's ValidationError."""

    def prove(self, job: Any) -> None:
        """Raise the same errors unless every field arrives equal."""

    def load(self, args: Sequence[Any], fields: Mapping[str, Any], discreet: bool = False) -> Any:
        """A new instance; raises pydantic's ValidationError, which quotes no value when `discreet`."""


class Codec:
    """Dumps and loads jobs of every class, with the keys and models of one Laraq."""

    def __init__(
        self,
        keys: Keys | None = None,
        models: Callable[[], Iterable[Models]] = tuple,
        untyped: Untyped | None = None,
    ) -> None:
        self._keys = keys or Keys()
        self._models = models
        #: Converts values without a type.
        self.untyped = untyped or Untyped()
        self._codecs: WeakKeyDictionary[type[Any], FieldsCodec] = WeakKeyDictionary()

    def dump(self, job: Any, id: str | None = None) -> dict[str, Any]:
        """The fields as they are sent: JSON-ready; for an encrypted job encrypted, and bound to the job of that id.

        Values whose types do not prove that they arrive equal are read back here. Raises InvalidJobError, which names
        job and field, and JobDefinitionError for types that cannot be sent.
        """
        try:
            fields = self._codec(type(job)).dump(job)
        except (ValidationError, PydanticSerializationError) as error:
            raise _refusal(job, error) from None
        if not job.encrypted:
            return fields
        return {CIPHER: self._keys.encrypt(to_json(fields)) if id is None else self._seal(job.job_name(), id, fields)}

    def check_round_trip(self, job: Any) -> None:
        """Raise as `dump` does unless a worker would get the same job: every field equal and of the same type.

        For code that accepts a job without sending it, such as a fake. Rows of models are not fetched.
        """
        try:
            self._codec(type(job)).prove(job)
        except (ValidationError, PydanticSerializationError) as error:
            raise _refusal(job, error) from None

    def load(self, cls: type[Any], payload: Payload) -> Any:
        """Create an instance of the job from the fields of a payload.

        Raises PayloadError, TamperedPayloadError, or ModelNotFoundError when a row is gone.
        """
        fields = payload.fields
        discreet = CIPHER in fields or bool(cls.encrypted)
        if discreet:
            fields = self._unseal(payload)
        try:
            job = self._codec(cls).load(payload.args, fields, discreet)
        except ModelNotFoundError as error:
            if not discreet:
                raise
            raise ModelNotFoundError(error.model, HIDDEN) from None
        except (ValidationError, PydanticSerializationError, TypeError, PayloadError) as error:
            if isinstance(error, PayloadError) and not discreet:
                raise
            raise PayloadError(
                f"Job {payload.job} cannot be made from its message: {_reason(error, discreet)}"
            ) from None
        if discreet and not job.encrypted:
            job.encrypted = True  # set on that instance only: no other option shows it
        return job

    def rebound(self, payload: Payload, id: str) -> Payload:
        """The payload under another id, with its encrypted fields bound to that id.

        Raises PayloadError.
        """
        if CIPHER not in payload.fields:
            return payload.with_(id=id)
        return payload.with_(id=id, fields={CIPHER: self._seal(payload.job, id, self._unseal(payload))})

    @staticmethod
    def recorded(payload: Payload) -> Payload:
        """The payload as it may be kept: without fields that were sent in plain text to an encrypted class."""
        encrypted = registry.knows(payload.job) and registry.find(payload.job).encrypted
        if not (encrypted or CIPHER in payload.fields):
            return payload
        fields = {name: value if name == CIPHER else HIDDEN for name, value in payload.fields.items()}
        return payload.with_(fields=fields, args=(HIDDEN,) * len(payload.args))

    def _seal(self, job: str, id: str, fields: Mapping[str, Any]) -> str:
        return self._keys.seal(fields, f"{job}[{id}]")

    def _unseal(self, payload: Payload) -> Mapping[str, Any]:
        """The decrypted fields of a message, which must not have plain fields as well."""
        if payload.fields.keys() != {CIPHER} or payload.args:
            raise TamperedPayloadError(f"Job {payload.job} is encrypted, but its message has plain fields.")
        try:
            fields = self._keys.unseal(str(payload.fields[CIPHER]), str(payload))
        except ConfigurationError as error:
            raise PayloadError(f"Job {payload.job} cannot be decrypted by this worker: {error}") from None
        if not isinstance(fields, Mapping):
            raise TamperedPayloadError(f"The token of {payload} holds no fields.")
        return fields

    def _codec(self, cls: type[Any]) -> FieldsCodec:
        codec = self._codecs.get(cls)
        if codec is None:
            make = getattr(cls, "_fields_codec", None)
            codec = self._codecs[cls] = make() if make else PydanticFields(cls, tuple(self._models()), self.untyped)
        return codec


def _refusal(job: Any, error: ValidationError | PydanticSerializationError) -> LaraqError:
    if isinstance(error.__cause__, LaraqError):
        return error.__cause__
    name = type(job).job_name()
    reason = _reason(error, bool(job.encrypted))
    if isinstance(error, PydanticSerializationError) or job.encrypted:
        return InvalidJobError(name, f"{name}: {reason}")
    remedies = (remedy for kind, remedy in _REMEDIES.items() if f"[type={kind}" in reason)
    return InvalidJobError(name, "\n".join((reason, *remedies)))


def _reason(error: Exception, discreet: bool) -> str:
    """What is wrong; for encrypted jobs only the fields, because messages and dict keys quote values."""
    if not discreet:
        return str(error)
    if not isinstance(error, ValidationError):
        return "its fields do not fit"
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    wrong = dict.fromkeys(f"{one['loc'][0]} ({one['type']})" if one["loc"] else one["type"] for one in errors)
    return f"invalid fields: {', '.join(wrong)}"


#: How to fix a pydantic error, by its type.
_REMEDIES = {
    "bytes_type": "Text is not bytes: encode it, text.encode().",
    "string_unicode": "A file's name that is not Unicode travels as bytes: os.fsencode(name).",
}
