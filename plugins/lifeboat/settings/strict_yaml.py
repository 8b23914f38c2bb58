"""YAML as settings need it: what a person may have typed by mistake is refused, with its place in the file.

The file itself is trusted: anyone who can write it can run anything as the worker (docs/SECURITY.md).
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml


def load(text: str) -> Any:
    """Return what a YAML text holds.

    :raises yaml.YAMLError: it is not YAML, or YAML that is refused here.
    """
    return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader


class _Loader(yaml.CSafeLoader):
    """Refuses duplicate keys: YAML would silently drop the first, and with it what it protects.

    Refuses scalars that are not a value of any type: they would fail later, with an error that names no place.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._flattened: set[int] = set()

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and re.search(r":|^[-+]?0\d", node.value):
            problem = f"YAML reads {node.value} in base 8 or 60; put text in quotes, write numbers without a leading 0"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # "2001-99-99" and the like
            raise yaml.constructor.ConstructorError(None, None, "not a valid value", node.start_mark) from error

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if "\0" in str(value):
            raise yaml.constructor.ConstructorError(None, None, "a NUL is not allowed", node.start_mark)
        return value

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what ``<<`` merges into a mapping, whose own keys are checked before: merged keys may repeat them."""
        if id(node) not in self._flattened:
            self._flattened.add(id(node))
            self._check_keys(node)
        super().flatten_mapping(node)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a list or {...} cannot be a key; put text in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} appears twice", key_node.start_mark)
            seen.add(key)
