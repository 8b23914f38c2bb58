"""Formats: facts that one task leaves for another, or a part of what is stored, as JSON; read and written here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, InstanceOf, PlainSerializer, ValidationError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LONGEST_NAME = 100  # of a wrong fact, which anybody may have chosen


def _moment(value: object) -> object:
    """Return a time in UTC.

    :param value: a time, or its text as `datetime.isoformat` writes it.
    :raises ValueError: it is something else, or has no zone.
    """
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise ValueError("no time, or one of no zone")
    if isinstance(value, str) and time.isoformat() != value:  # many other texts tell the same time
        raise ValueError("not as we write it")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error


Text = InstanceOf[str]  # also with halves of characters, which stand for bytes of a name that are not UTF-8
Moment = Annotated[datetime, BeforeValidator(_moment), PlainSerializer(datetime.isoformat, return_type=str)]


class Format:
    """Facts that one task leaves for another, or a part of what is stored; a frozen dataclass.

    Between tasks of a run, what is not known is refused.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Return the facts as values that JSON knows."""
        # Stored models omit facts that were not set; dataclasses set all of theirs.
        facts: dict[str, Any] = self._adapter().dump_python(self, exclude_unset=True)
        return facts

    @classmethod
    def from_json(cls, facts: object) -> Self:
        """Read what `to_json` returned.

        :raises ValueError: a fact is missing, unknown or wrong.
        """
        with sentences():
            read: Self = cls._adapter().validate_python(facts)
            return read

    @classmethod
    @cache
    def _adapter(cls) -> TypeAdapter[Any]:
        from pydantic import TypeAdapter  # which `lifeboat --help` need not wait for

        return TypeAdapter(cls)


@contextmanager
def sentences() -> Iterator[None]:
    """Name the wrong fact in a sentence of ours, whose length no input decides."""
    try:
        yield
    except ValidationError as error:
        place = error.errors(include_url=False, include_input=False)[0]["loc"]
        where = ".".join(map(str, place))[:LONGEST_NAME]
        raise ValueError(f"{where or 'all of it'} is missing or wrong") from None
