"""Mistakes in the settings as text: the key, what is wrong, what to do. Values are not repeated: they may be secret."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection
from typing import Any

import yaml
from pydantic import ValidationError

from lifeboat.text import one_line


def in_yaml(error: yaml.YAMLError, text: str) -> str:
    """Return the place where a text is not YAML, and the reason."""
    if not isinstance(error, yaml.error.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark, problem = error.problem_mark, str(error.problem)
    if text[mark.index : mark.index + 1] == "\t":
        problem = "a tab; indent by spaces"
    elif problem.startswith("but "):
        problem = f"{error.context} {problem}"
    return one_line(f"line {mark.line + 1}, column {mark.column + 1}: {problem}")


_WORDS = {  # of pydantic's errors; in braces, what their context holds
    "missing": "is missing, add it",
    "union_tag_not_found": "must be 'disk' or 's3'",
    "union_tag_invalid": "must be 'disk' or 's3'",
    "literal_error": "must be {expected}",
    "model_type": "must contain keys and values, as in docs/CONFIGURATION.md",
    "model_attributes_type": "must contain keys and values, as in docs/CONFIGURATION.md",
    "dict_type": "must contain keys and values, as in docs/CONFIGURATION.md",
    "tuple_type": "must be a list, for example [one, two]",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_type": "must be text; put it in quotes",
    "invalid_key": "must be text; put it in quotes",
    "path_type": "must be text; put it in quotes",
    "int_type": "must be a whole number, for example 7",
    "float_type": "must be a number, for example 7 or 0.5",
    "bool_type": "must be true or false, without quotes",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
}


def in_settings(error: ValidationError, keys: Collection[str]) -> str:
    """Return mistakes as ``key: what is wrong, what to do``, each once.

    :param keys: all that there are, to suggest one for a misspelled one.
    """
    found = [(_key(each), _as_text(each, keys)) for each in error.errors()]
    deepest = [
        (key, words)
        for key, words in found  # the parts of a union or a list say it better than the whole
        if not any(other.startswith(f"{key}.") for other, _ in found)
    ]
    return "; ".join(dict.fromkeys(f"{key}: {words}" if key else words for key, words in deepest))


def _as_text(error: Any, keys: Collection[str]) -> str:
    """Return one of pydantic's errors as text: what is wrong, what to do."""
    location, value = error["loc"], error["input"]
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(location[-1]), keys, n=1)
        known = close and close[0] != location[-1]
        return f"unknown key, did you mean {close[0]!r}?" if known else "unknown key here, remove it"
    if location[:2] == ("drill", "connection"):
        return "must be the id of a connection, or one for each engine, for example {mysql: scratch_db}"
    if location and location[-1] in ("Encryption", "literal['none']"):
        return "must be 'none' or name a connection, for example 'connection: lifeboat_archive'"
    if isinstance(value, bool) and error["type"] in ("string_type", "invalid_key"):
        return f"must be text, which YAML reads as {json.dumps(value)}; put it in quotes"
    empty = "; it is empty" if value is None and error["type"] != "missing" else ""
    if error["type"] in _WORDS:
        return _WORDS[error["type"]].format(**error.get("ctx", {})) + empty
    return str(error["msg"]).removeprefix("Value error, ") + empty


def _key(error: Any) -> str:
    """Return the key as it stands in the file: pydantic adds the branch of a union that it tried, and a key's mark."""
    branch = re.compile(r"Encryption|\[key\]|(literal|dict|function-after)\[.*", re.DOTALL)
    parts = [str(part) for part in error["loc"] if not branch.fullmatch(str(part))]
    if len(parts) > 2 and parts[0] == "destinations":
        del parts[2]
    if len(parts) > 4 and parts[2] == "databases":
        del parts[4]
    return one_line(".".join([*parts, "type"] if error["type"].startswith("union_tag") else parts))
