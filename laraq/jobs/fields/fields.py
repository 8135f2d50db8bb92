"""The fields of one job class: their pydantic schema, and the check that they arrive as they were sent.

Where the type is no guarantee (unions, models, `Any`, code of the class), each value is read back before it is sent.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator, to_json

from laraq.errors import InvalidJobError, JobDefinitionError, LaraqError
from laraq.jobs.definition import aliases_of
from laraq.jobs.fields.mapped import Sent
from laraq.jobs.fields.sameness import Difference, difference
from laraq.jobs.fields.schema import (
    Compiler,
    Refusal,
    has_secret,
    has_untyped,
    is_proven,
    refs_of,
    refuse_what_never_arrives,
)
from laraq.jobs.fields.shape import shape_of
from laraq.jobs.fields.untyped import Untyped
from laraq.messages.options import OPTIONS
from laraq.ports import Models


class PydanticFields:
    """Checks, dumps and loads the fields of a Job class.

    Raises JobDefinitionError for a field whose type cannot be sent.
    """

    def __init__(self, cls: type[Any], models: Sequence[Models] = (), untyped: Untyped | None = None) -> None:
        self._cls, self._models = cls, models
        self._untyped = untyped or Untyped()
        fields = [field for field in dataclasses.fields(cls) if field.init and field.name not in OPTIONS]
        #: In the order of positional arguments; keyword-only fields come last.
        self.names = tuple(field.name for field in sorted(fields, key=lambda field: bool(field.kw_only)))
        #: Field names by their names in messages.
        self._aliases = aliases_of(cls)
        self._in_messages = {name: alias for alias, name in self._aliases.items()}
        shape = shape_of(cls, self.names, models)
        #: Whether the class has pydantic's decorators; a validated job is then an instance, else a dict.
        self._decorated = shape.decorated
        self._schema = shape.receiving
        refs = refs_of(shape.sending)
        for name, part in shape.parts.items():
            try:
                refuse_what_never_arrives(part, refs)
            except Refusal as error:
                raise JobDefinitionError(f"{shape.described(name)} cannot travel: {error}.") from None
        #: Fields with values that have no type.
        self._wild = frozenset(name for name, part in shape.parts.items() if has_untyped(part, refs))
        self._secrets = [shape.described(name) for name, part in shape.parts.items() if has_secret(part, refs)]
        #: Whether the class has code that changes the values that arrive.
        self._coded = shape.decorated or hasattr(cls, "__post_init__")
        #: Fields whose values are each read back before they are sent.
        self._unproven = tuple(name for name, part in shape.parts.items() if self._coded or not is_proven(part, refs))
        #: Whether more is needed than validating and serializing.
        self._careful = bool(self._unproven or self._secrets or not self.names)
        self._compiler = Compiler(cls.job_name(), self._untyped)
        self._sender = self._compiler.sender(shape.receiving, hide=False)
        self._receiver = self._compiler.receiver(shape.receiving, hide=False)
        self._serializer = self._compiler.serializer(shape.sending)

    # -- sending ------------------------------------------------------------------------------------------------

    def dump(self, job: Any) -> dict[str, Any]:
        """Validate the values of the instance, and convert them to JSON-ready values that arrive equal.

        Raises InvalidJobError, and pydantic's errors.
        """
        if self._careful or job.encrypted:
            dumped = self._dump_carefully(job)
        else:
            dumped = self._serializer.to_python(self._sender.validate_python(self._state(job)), mode="json")
        if self._aliases:
            return {self._in_messages.get(name, name): value for name, value in dumped.items()}
        return dumped

    def prove(self, job: Any) -> None:
        """Raise as `dump` does, but read back every value, also those whose types are trusted."""
        if self.names:
            self._proven(self._validated(job), self.names, bool(job.encrypted))

    def _state(self, job: Any) -> dict[str, Any]:
        """The values of the instance by field name."""
        state: dict[str, Any] = job.__dict__
        return state if len(state) == len(self.names) else {name: state[name] for name in self.names}

    def _dump_carefully(self, job: Any) -> dict[str, Any]:
        if not self.names:
            return {}
        return self._proven(self._validated(job), self._unproven, bool(job.encrypted))

    def _validated(self, job: Any) -> Any:
        if not job.encrypted:
            if self._secrets:
                raise JobDefinitionError(
                    f"{self._secrets[0]} travels in encrypted jobs only, because anyone who can read the queue can read"
                    " the others: set encrypted = True on the class."
                )
            sender = self._sender
        else:
            sender = self._discreet_sender
        return sender.validate_python(dict(self._state(job)))

    def _proven(self, values: Any, names: Sequence[str], discreet: bool) -> dict[str, Any]:
        context = Sent() if self._models else None
        dumped, text = self._written(values, discreet, context)
        if not names:
            return dumped
        try:
            arrived = self._arrived(text, context)
        except ValidationError as error:
            [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
            name = str(first["loc"][0]) if first["loc"] else None
            raise self._refused(
                name, f"a worker could not read it: {first['type'] if discreet else first['msg']}", self._remedy(name)
            ) from None
        except Exception as error:  # from the class's own code
            raise self._refused(None, f"a worker could not make it: {'' if discreet else error!r}", "") from None
        sent = vars(values) if self._decorated else values
        for name in names:
            if name not in arrived:
                raise self._refused(name, "its type excludes it from what is sent", "Leave out exclude=True.")
            if found := difference(sent[name], arrived[name]):
                where = f"{found.path.lstrip('.')}: " if found.path else ""
                raise self._refused(name, where + found.described(discreet), self._remedy(name, found))
        return dumped

    def _written(self, values: Any, discreet: bool, context: Sent | None) -> tuple[dict[str, Any], bytes]:
        def write(**which: Any) -> tuple[dict[str, Any], bytes]:
            dumped = self._serializer.to_python(
                values, mode="json", round_trip=True, warnings=False, context=context, **which
            )
            return dumped, to_json(dumped)

        try:
            return write()
        except (PydanticSerializationError, ValueError) as error:
            problem = error
        for name in self.names:
            try:
                write(include={name})
            except (PydanticSerializationError, ValueError) as error:
                if isinstance(error.__cause__, LaraqError):
                    raise error.__cause__ from None
                reason = "a value of it cannot be written as JSON" if discreet else _reason(error)
                raise self._refused(name, reason, self._remedy(name, error=error)) from None
        raise problem

    def _arrived(self, text: bytes, context: Sent | None) -> Mapping[str, Any]:
        """The fields as a worker gets them."""
        if b'"__value__"' in text:  # a carrier converts such marks
            text = self._text(json.loads(text, object_hook=self._untyped.unmark))
        values: Any = self._receiver.validate_json(text, context=context)
        if self._decorated:
            return dict(vars(values))
        arrived: dict[str, Any] = vars(self._cls(**values)) if self._coded else values
        return arrived

    def _refused(self, name: str | None, what: str, remedy: str) -> InvalidJobError:
        job = self._cls.job_name()
        field = "" if name is None else f" field {name!r} would not arrive unchanged:"
        return InvalidJobError(job, f"{job}:{field} {what}. {remedy}".rstrip())

    def _remedy(self, name: str | None, found: Difference | None = None, error: Exception | None = None) -> str:
        if error is not None and "surrogates" in str(error):
            return "A file's name that is not Unicode travels as bytes: os.fsencode(name)."
        if name in self._wild:
            return (
                "Without a type, JSON and datetime, date, time, Decimal, UUID and bytes travel, and dicts have text as"
                " keys: annotate it."
            )
        if found is not None and type(found.arrived) in type(found.sent).__mro__[1:-1]:
            return f"Annotate it with {type(found.sent).__name__}."
        if self._coded:
            return "Validators and __post_init__ run in both processes: applying them twice must give the same value."
        if found is not None and hasattr(found.sent, "utcoffset"):
            return "Send it in UTC: value.astimezone(UTC)."
        return "Annotate it with a type that only this value fits, or send it as text or bytes."

    # -- receiving ----------------------------------------------------------------------------------------------

    def load(self, args: Sequence[Any], fields: Mapping[str, Any], discreet: bool = False) -> Any:
        """Create an instance: positional values are the fields in their order, defaults come from the class."""
        if self._aliases:
            fields = {self._aliases.get(name, name): value for name, value in fields.items()}
        if args:
            if len(args) > len(self.names):
                raise TypeError(f"{len(args)} values for {len(self.names)} fields ({', '.join(self.names)})")
            positional = dict(zip(self.names, args, strict=False))
            if twice := positional.keys() & fields.keys():
                raise TypeError(f"field {min(twice)!r} was given twice")
            fields = {**positional, **fields}
        if not fields and not self.names:
            return self._cls()
        receiver = self._discreet_receiver if discreet else self._receiver
        if self._wild:
            values = self._read(receiver, fields)
        else:
            # As JSON, because only then base64 becomes bytes and the keys of a JSON object get the type of the field.
            values = receiver.validate_json(to_json(fields, bytes_mode="base64"))
        return values if self._decorated else self._cls(**values)

    def _read(self, receiver: SchemaValidator, fields: Mapping[str, Any]) -> Any:
        try:
            return receiver.validate_json(self._text(fields))
        except ValidationError:
            # A message of another sender, with a datetime as the type demands, beside values without a type.
            return receiver.validate_json(to_json(fields, bytes_mode="base64"))

    def _text(self, fields: Mapping[str, Any]) -> bytes:
        """JSON that restores the marks of untyped values that a carrier has converted."""
        again, wild = self._untyped.again, self._wild
        marked = {name: again(value) if name in wild else value for name, value in fields.items()}
        return to_json(marked, bytes_mode="base64")

    @cached_property
    def _discreet_sender(self) -> SchemaValidator:
        """A sender whose errors do not quote values: for jobs that are encrypted by their class or this instance."""
        return self._compiler.sender(self._schema, hide=True)

    @cached_property
    def _discreet_receiver(self) -> SchemaValidator:
        return self._compiler.receiver(self._schema, hide=True)


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error).removeprefix("Error serializing to JSON: ").splitlines()[0].rstrip(".")
