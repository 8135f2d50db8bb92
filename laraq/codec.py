"""Codec: job fields <-> JSON, through pydantic; mapped instances by identifier; encryption.

Fields are validated twice, in the producer and in the worker, by the same types, and arrive equal or are not sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from laraq.errors import ConfigurationError, InvalidJobError, LaraqError, PayloadError
from laraq.fields import PydanticFields
from laraq.keys import Keys
from laraq.mapped import WithoutRelations as WithoutRelations
from laraq.payload import CIPHER, Payload
from laraq.ports import Models
from laraq.untyped import Untyped


class FieldsCodec(Protocol):
    """What turns the fields of one job class into JSON and back."""

    def dump(self, job: Any) -> dict[str, Any]:
        """JSON-ready fields, validated; raises InvalidJobError, or pydantic's ValidationError."""

    def prove(self, job: Any) -> None:
        """Raises the same unless every field arrives equal."""

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
        #: How values without a type travel.
        self.untyped = untyped or Untyped()
        self._codecs: WeakKeyDictionary[type[Any], FieldsCodec] = WeakKeyDictionary()

    def dump(self, job: Any) -> dict[str, Any]:
        """The fields as they travel: JSON-ready, encrypted when the job says so.

        What types do not prove to arrive equal is read back here. Raises InvalidJobError, which names job and field,
        and JobDefinitionError for types that cannot travel.
        """
        try:
            fields = self._codec(type(job)).dump(job)
        except (ValidationError, PydanticSerializationError) as error:
            raise _refusal(job, error) from None
        return {CIPHER: self._keys.encrypt(to_json(fields))} if job.encrypted else fields

    def check_round_trip(self, job: Any) -> None:
        """Raise as `dump` does unless a worker would get the job as it is: every field equal and of equal type.

        For whoever takes a job and sends it nowhere, such as a fake. Rows of models are not fetched.
        """
        try:
            self._codec(type(job)).prove(job)
        except (ValidationError, PydanticSerializationError) as error:
            raise _refusal(job, error) from None

    def load(self, cls: type[Any], payload: Payload) -> Any:
        """A new instance of the job, as its fields say.

        Raises PayloadError, TamperedPayloadError, or ModelNotFoundError when a row is gone.
        """
        fields = payload.fields
        discreet = CIPHER in fields or bool(cls.encrypted)
        if CIPHER in fields:
            try:
                fields = json.loads(self._keys.decrypt(str(fields[CIPHER])))
            except ConfigurationError as error:
                raise PayloadError(f"Job {payload.job} cannot be decrypted by this worker: {error}") from None
        try:
            return self._codec(cls).load(payload.args, fields, discreet)
        except (ValidationError, PydanticSerializationError, TypeError) as error:
            raise PayloadError(f"Job {payload.job} cannot be made from its message: {error}") from None

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
    if isinstance(error, PydanticSerializationError):
        return InvalidJobError(name, f"{name}: {error}")
    remedies = (remedy for kind, remedy in _REMEDIES.items() if f"[type={kind}" in str(error))
    return InvalidJobError(name, "\n".join((str(error), *remedies)))


#: What to do about an error of pydantic's, by its type.
_REMEDIES = {
    "bytes_type": "Text is not bytes: encode it, text.encode().",
    "string_unicode": "A file's name that is not Unicode travels as bytes: os.fsencode(name).",
}
