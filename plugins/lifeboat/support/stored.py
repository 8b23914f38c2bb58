"""Stored formats: models of files at destinations. They alone read and write these files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from lifeboat.support.formats import sentences

Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
Flag = Annotated[bool, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]


class Stored(BaseModel):
    """Facts that outlive a version: older and newer versions read what each other wrote.

    So facts may be added, and unknown ones are ignored.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as values that JSON knows, without those that were not set."""
        return self.model_dump(exclude_unset=True)

    def to_bytes(self) -> bytes:
        """Return the text to store."""
        return json.dumps(self.to_json(), ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_json(cls, facts: object) -> Self:
        """Read what `to_json` returned.

        :raises ValueError: it is something else.
        """
        with sentences():
            return cls.model_validate(facts)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` returned.

        :raises ValueError: it is something else.
        """
        return cls.from_json(loads(content))


def loads(content: bytes | str, object_hook: Callable[[dict[str, Any]], object] | None = None) -> object:
    """Parse JSON that anybody may have written.

    :param object_hook: makes what is used instead of an object.
    :raises ValueError: it is not JSON, or nests too deeply.
    """
    try:
        values: object = json.loads(content, object_hook=object_hook)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error
    return values
